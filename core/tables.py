"""Tables as text, Markdown, CSV and LaTeX: the first row is the head."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence

Table = Sequence[Sequence[str]]

_LATEX = str.maketrans(
    {
        **{sign: f"\\{sign}" for sign in "#$%&_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


def text_table(rows: Table, left: Collection[int] = (0,)) -> list[str]:
    """`rows` in columns for a terminal, a line each; a row may be shorter.

    Args:
        rows: The head and the body.
        left: Columns that begin alike; the others, figures, end alike.
    """
    columns = max(len(row) for row in rows)
    widths = [
        max((len(row[i]) for row in rows if i < len(row)), default=0)
        for i in range(columns)
    ]
    return [
        "  ".join(
            cell.ljust(widths[i]) if i in left else cell.rjust(widths[i])
            for i, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]


def markdown_table(rows: Table) -> list[str]:
    """`rows` in Markdown, a line each; all columns but the first are figures."""
    head, *body = rows
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in body]
    return [
        f"| {' | '.join(head)} |",
        f"|{'---|' + '---:|' * (len(head) - 1)}",
        *(f"| {' | '.join(row)} |" for row in escaped),
    ]


def csv_table(rows: Table) -> str:
    """`rows` as comma-separated values."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def latex_table(rows: Table) -> str:
    """`rows` as LaTeX's ``tabular``, rules by the package ``booktabs``."""
    head, *body = (
        " & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in rows
    )
    columns = "l" + "r" * (len(rows[0]) - 1)
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", head, r"\midrule"]
    return "\n".join([*lines, *body, r"\bottomrule", r"\end{tabular}", ""])
