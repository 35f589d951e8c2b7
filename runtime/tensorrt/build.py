"""Build an engine in this process, which native code may end: see `process`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derain.core.errors import EngineError
from derain.runtime.cuda.device import DeviceFacts
from derain.runtime.tensorrt import layer_precision, versions
from derain.runtime.tensorrt.build_options import BuildFacts, BuildOptions, BuildRequest
from derain.runtime.tensorrt.cache_file import CacheFile
from derain.runtime.tensorrt.engine_states import FRAME, shape_of_frame
from derain.runtime.tensorrt.fused_units import fuse_units
from derain.runtime.tensorrt.library import Api
from derain.runtime.tensorrt.monitor import PhaseTree, progress_monitor
from derain.runtime.tensorrt.network_definition import (
    arithmetic_types,
    check_contract,
    new_builder,
    parse,
    shape_of,
)

if TYPE_CHECKING:
    import tensorrt as trt

_SHOWN_NODES = 3
_SHARED_PART = 4  # of memory that device and processor share, one in so many


def build(
    api: Api,
    request: BuildRequest,
    device: DeviceFacts | None,
    report: Callable[[float, str], None],
) -> tuple[bytes, BuildFacts]:
    """Build the engine that `request` asks for.

    Args:
        api: The library.
        request: What to build.
        device: The GPU that is there, if any.
        report: Called with the part that is done, from 0 to 1, and what is being done.

    Returns:
        The plan, and the facts about it; what `inspect` says is not among them.

    Raises:
        EngineError: The model or the options do not suit the library, or it fails.
    """
    options = request.options
    notes: list[str] = []
    started = time.perf_counter()
    builder: trt.Builder = new_builder(api)
    network, refused = parse(api, builder, request.model)
    if refused:
        shown = "; ".join(map(str, refused[:_SHOWN_NODES]))
        raise EngineError(
            f"{api.name} {api.version} refuses {len(refused)} nodes: {shown}"
            f"{'; ...' if len(refused) > _SHOWN_NODES else ''}; run: derain-compile "
            "--check to see them all, and what to do"
        )
    check_contract(api, network, request.model, request.states)
    types = arithmetic_types(api, network)
    layer_precision.check_precision(request.precision, types)
    here = None if options.compute_capabilities else device
    config: trt.IBuilderConfig
    config, settings = _configure(api, builder, options, here)
    _set_shapes(api, builder, config, network, request)
    plugin: str | None = None
    if options.fused_units:
        assert device is not None, "TensorRT builds on a GPU alone"
        capability = device.compute_capability
        # Kept to the end: TensorRT reads constants when it builds.
        kept, plugin = fuse_units(api, network, capability)
        settings["fused_units"] = len(kept)
    cache_file = _use_timing_cache(api, config, options, device, notes)
    config.progress_monitor = progress_monitor(api.trt, PhaseTree(report))
    serialized: trt.IHostMemory | None = builder.build_serialized_network(
        network, config
    )
    if serialized is None:
        reasons = "; ".join(api.messages.errors) or "no reason given"
        if re.search("bad_alloc|out of memory", reasons, re.IGNORECASE):
            reasons = f"not enough memory ({reasons})"
        raise EngineError(
            f"{api.name} {api.version} cannot build the engine: {reasons}"
        )
    plan = bytes(memoryview(serialized))
    seconds = time.perf_counter() - started
    if cache_file is not None:
        _keep_timing_cache(config, cache_file, notes)
    if device is None or options.compute_capabilities:
        capabilities = options.compute_capabilities
    else:
        capabilities = (device.compute_capability,)
    return plan, BuildFacts(
        version=api.version,
        device=here,
        compute_capabilities=capabilities,
        seconds=round(seconds, 3),
        peak_bytes=_peak_bytes(),
        settings=settings,
        network_types=types,
        plugin=plugin,
        layers=None,
        notes=(*notes, *api.messages.warnings),
    )


def inspect(
    api: Api, plan: bytes, facts: BuildFacts, *, version_compatible: bool
) -> BuildFacts:
    """The facts about a plan, with its layers where it can be loaded here.

    What fails is a note: the plan is on the disk, and good.
    """
    layers, why = None, "no GPU to load the engine on"
    if facts.device is not None:
        why = "it does not load"
        try:
            layers = layer_precision.engine_layers(
                api, plan, version_compatible=version_compatible
            )
        # Bindings have no error type of their own, and what the inspector says is text
        # that changes from version to version.
        except Exception as error:
            why = " ".join(f"{type(error).__name__}: {error}".split())
    notes = facts.notes
    if layers is None:
        notes = (*notes, not_inspected(why))
    return replace(facts, layers=layers, notes=notes)


def not_inspected(why: str) -> str:
    """The note that an engine has whose layers nobody could look at."""
    return f"layers of the engine not inspected: {why}"


def _peak_bytes() -> int:
    # Not ru_maxrss: that starts at what the parent process had.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return 1024 * int(match[1]) if match else 0


def _configure(
    api: Api, builder: trt.Builder, options: BuildOptions, device: DeviceFacts | None
) -> tuple[trt.IBuilderConfig, dict[str, Any]]:
    """The builder's configuration, and those of its settings that are recorded.

    Args:
        api: The library.
        builder: Its builder.
        options: What the user wants.
        device: What the engine is for; None for GPUs that are not here.
    """
    config: trt.IBuilderConfig = builder.create_builder_config()
    settings: dict[str, Any] = {}
    # Without it the inspector knows no types; it changes no kernel.
    config.profiling_verbosity = api.trt.ProfilingVerbosity.DETAILED
    workspace = options.workspace_bytes
    if device is not None and device.integrated:
        # A stream beside the first needs activations of its own: qsnet's memory is
        # 652 MB in place of 1159 without, and no more bytes are moved (TensorRT-RTX
        # 1.7.1, FP16, 1280x720, read from its log).
        config.max_aux_streams = settings["max_aux_streams"] = 0
        workspace = workspace or device.memory_bytes // _SHARED_PART
    if workspace is not None:
        pool = api.trt.MemoryPoolType.WORKSPACE
        config.set_memory_pool_limit(pool, workspace)
        settings["workspace_bytes"] = workspace
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
        settings["optimization_level"] = options.optimization_level
    if options.tiling is not None:
        versions.set_tiling(api, config, options.tiling)
        settings["tiling"] = options.tiling
    versions.require_user_allocation(api, config)
    if options.hardware_compatible:
        versions.set_hardware_compatible(api, config)
    if options.version_compatible:
        versions.set_version_compatible(api, config)
    if options.compute_capabilities:
        versions.set_compute_capabilities(api, config, options.compute_capabilities)
    return config, settings


def _set_shapes(
    api: Api,
    builder: trt.Builder,
    config: trt.IBuilderConfig,
    network: trt.INetworkDefinition,
    request: BuildRequest,
) -> None:
    """Say how large the inputs are that the graph leaves open."""
    sizes = request.sizes
    ranges = {f"{state.name}_in": state.shapes for state in request.states}
    ranges[FRAME] = (
        shape_of_frame(sizes.minimum),
        shape_of_frame(sizes.optimum),
        shape_of_frame(sizes.maximum),
    )
    inputs: list[trt.ITensor] = [
        network.get_input(index) for index in range(network.num_inputs)
    ]
    open_ = [tensor for tensor in inputs if -1 in shape_of(tensor)]
    if sizes.is_static:  # of a graph that takes a range: nothing is left open
        for tensor in open_:
            tensor.shape = api.trt.Dims(ranges[tensor.name][0])
    elif open_:
        profile: trt.IOptimizationProfile = builder.create_optimization_profile()
        for tensor in open_:
            profile.set_shape(tensor.name, *map(api.trt.Dims, ranges[tensor.name]))
        config.add_optimization_profile(profile)


def _use_timing_cache(
    api: Api,
    config: trt.IBuilderConfig,
    options: BuildOptions,
    device: DeviceFacts | None,
    notes: list[str],
) -> CacheFile | None:
    """Give the builder its timing cache; the file to keep it in afterwards."""
    if not versions.has_timing_cache(api):
        if options.timing_cache_file is not None:
            notes.append(f"{api.name} measures nothing: no timing cache used")
        return None
    if not options.timing_cache or device is None:
        return None
    if options.timing_cache_file is not None:
        file = CacheFile("timing", options.timing_cache_file)
        data = file.load()  # the user's own: never replaced unseen
    else:
        file = CacheFile.default("timing", api.name, api.version, device)
        try:
            data = file.load()
        except EngineError as error:
            notes.append(f"{error}: ignored")
            data = b""
    cache: trt.ITimingCache = config.create_timing_cache(data)
    if not config.set_timing_cache(cache, ignore_mismatch=False):
        notes.append(f"{file} is of another device: ignored")
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return file


def _keep_timing_cache(
    config: trt.IBuilderConfig, file: CacheFile, notes: list[str]
) -> None:
    cache: trt.ITimingCache = config.get_timing_cache()
    serialized: trt.IHostMemory = cache.serialize()
    try:
        file.save(bytes(memoryview(serialized)))
    except EngineError as error:
        notes.append(f"{error}: the next build will measure again")
