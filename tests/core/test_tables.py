from derain.core.tables import csv_table, latex_table, markdown_table, text_table

ROWS = [["row", "ms"], ["a", "10.0"], ["long|name", "9"]]


def test_text_has_names_at_the_left_and_figures_at_the_right():
    assert text_table(ROWS) == ["row          ms", "a          10.0", "long|name     9"]


def test_text_may_have_its_names_last():
    rows = [["ms", ""], ["10.0", "a"], ["9"]]
    assert text_table(rows, left=(1,)) == ["  ms", "10.0  a", "   9"]


def test_markdown_keeps_a_bar_in_its_cell():
    assert markdown_table(ROWS) == [
        "| row | ms |",
        "|---|---:|",
        "| a | 10.0 |",
        "| long\\|name | 9 |",
    ]


def test_csv_quotes_what_holds_a_comma():
    assert csv_table([["a", "b"], ["1,5", ""]]) == 'a,b\n"1,5",\n'


def test_latex_escapes_what_it_would_read_as_a_command():
    lines = latex_table([["row", "x"], ["a_b & c\\", "5 %"]]).splitlines()
    assert lines[0] == r"\begin{tabular}{lr}"
    assert lines[4] == r"a\_b \& c\textbackslash{} & 5 \% \\"
    assert lines[-1] == r"\end{tabular}"
