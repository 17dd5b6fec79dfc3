"""The flow program in an object of clang's; and what is none."""

import struct
import subprocess

import pytest

from spectrum.core.flow_programs.elf import ElfObject, SourceLine, link, read_flow_code
from spectrum.core.flow_programs.instructions import INSTRUCTION, ProgramError
from spectrum.kernel.compiling import HEADERS

INCLUDE = "#include <spectrum_flow.h>\n"
EXIT = INSTRUCTION.pack(0x95, 0, 0, 0)


@pytest.fixture
def built(tmp_path, require):
    """What builds the object of a source, with more options of clang's."""
    require("clang")

    def build(source, *options):
        path = tmp_path / "program.c"
        path.write_text(INCLUDE + source)
        command = ["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v2", "-I", HEADERS, *options, "-c", path, "-o", "-"]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout

    return build


def test_a_program_with_functions(built):
    code = read_flow_code(
        built(
            "static __attribute__((noinline)) int third(const struct flow_packet *p, int x)\n"
            "{ return flow_u8(p, x) > 3; }\n"
            "static __attribute__((noinline)) int second(const struct flow_packet *p, int x)\n"
            "{ return third(p, x) + third(p, x + 1); }\n"
            "FLOW_PROGRAM_WITH_STATE(p, s)\n"
            "{ s->u32[0]++; return second(p, 7) ? FLOW_PASS : FLOW_DROP; }\n"
        )
    )
    assert code.has_state
    calls = [
        (at, at + 1 + number)
        for at, (operation, registers, _, number) in enumerate(INSTRUCTION.iter_unpack(code.code))
        if operation == 0x85 and registers >> 4 == 1
    ]
    ends = {at + 1 for at, (operation, *_) in enumerate(INSTRUCTION.iter_unpack(code.code)) if operation == 0x95}
    assert len(calls) == 3 and len({target for _, target in calls}) == 2
    assert {target for _, target in calls} <= ends, "functions begin where others end"
    assert code.line_of(0).endswith("program.c:6") or code.line_of(0).endswith("program.c:7")
    assert code.lines and all(one.file.endswith((".c", "spectrum_flow.h")) for one in code.lines)


def test_lines_of_the_header_are_told_as_of_who_reads(built):
    code = read_flow_code(built("FLOW_PROGRAM(p)\n{\n\treturn flow_u32(p, 4) == 7;\n}\n"))
    assert not code.has_state
    assert all(code.line_of(at).endswith(("program.c:2", "program.c:4")) for at in range(len(code.code) // 8))
    plain = read_flow_code(built("FLOW_PROGRAM(p) { return 0; }", "-g0"))
    assert plain.lines == () and plain.line_of(0) == ""


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("int x(void) { return 0; }", "no flow program"),
        ("FLOW_PROGRAM(p) { return nothing(p); }", "program.c:2: there is no nothing"),
        ("__u32 x; FLOW_PROGRAM(p) { return x++; }", "program.c:2: it uses the global variable x"),
        (
            'static const char m[] = "ABCDEFGHIJKLMNOP"; FLOW_PROGRAM(p) { return m[flow_u8(p, 0) & 15]; }',
            "program.c:2: it uses constant data",
        ),
        (
            '__attribute__((section(".maps"), used)) int m; extern long f(void *);\n'
            "static long (*find)(void *, void *) = (void *)1;\n"
            "FLOW_PROGRAM(p) { return find(&m, (void *)p) != 0; }",
            "program.c:4: it uses the map m",
        ),
        (
            "static long (*now)(void) = (void *)5;\nFLOW_PROGRAM(p) { return now() & 1; }",
            "program.c:3: it calls the kernel's helper 5",
        ),
        (
            'FLOW_PROGRAM(p) { return 0; }\n__attribute__((section("xdp"), used)) int f(void *c) { return 1; }',
            "a function in section xdp",
        ),
        (
            "FLOW_PROGRAM_WITH_STATE(p, s) { __sync_fetch_and_add(&s->u64[0], 1); return 0; }",
            "program.c:2: atomic",
        ),
    ],
)
def test_what_a_program_may_not_do(built, source, why):
    with pytest.raises(ProgramError, match=why):
        read_flow_code(built(source))


def test_invalid_objects(built):
    whole = built("FLOW_PROGRAM(p) { return 0; }")
    machine = whole[:18] + struct.pack("<H", 62) + whole[20:]
    for data, why in (
        (b"", "not an object"),
        (b"int x;", "not an object"),
        (whole[:60], "broken"),
        (machine, "another machine"),
        (whole + bytes(5 << 20), "more than"),
    ):
        with pytest.raises(ProgramError, match=why):
            read_flow_code(data)
    # Lines that cannot be read are none.
    assert read_flow_code(whole.replace(b"\x9f\xeb\x01", b"\x9f\xec\x01")).lines == ()


def test_every_cut_is_refused_or_a_program(built):
    whole = built("FLOW_PROGRAM(p) { return flow_u8(p, 0); }")
    for end in range(0, len(whole), 97):
        try:
            read_flow_code(whole[:end])
        except ProgramError:
            continue


def test_sections_and_symbols(built):
    one = ElfObject(built("FLOW_PROGRAM(p) { return nothing(p); }"))
    number = one.number("flow/plain")
    assert one.number("nowhere") is None and [symbol.name for _, symbol in one.relocations(number)] == ["nothing"]


def test_a_program_behind_its_wrapper():
    wrapper = INSTRUCTION.pack(0x18, 0x01, 0, 0) + bytes(8) + INSTRUCTION.pack(0x85, 0x10, 0, -1) * 2 + EXIT
    linked = list(INSTRUCTION.iter_unpack(link(wrapper, [2, 3], EXIT, {0: 9}, 1)))
    assert linked == [(24, 17, 0, 9), (0, 0, 0, 0), (133, 16, 0, 2), (133, 16, 0, 1), (149, 0, 0, 0), (149, 0, 0, 0)]


def test_where_lines_are():
    from spectrum.core.flow_programs.elf import FlowCode

    lines = (SourceLine(0, "/a.c", 3), SourceLine(4, "/spectrum_flow.h", 80), SourceLine(6, "/a.c", 5))
    code = FlowCode(b"", False, lines)
    assert [code.line_of(at) for at in (0, 5, 9)] == ["/a.c:3", "/a.c:3", "/a.c:5"]
