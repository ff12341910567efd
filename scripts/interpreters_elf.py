"""Makes a copy of an ELF program start with a dynamic loader and libraries of its own folder.

A program from a newer distribution needs that distribution's libc. Started through its loader
(`ld-linux prog`), `/proc/PID/exe` is the loader; changed as here, it is the program itself.
Only two strings, one program header and one dynamic entry differ: no segment moves, so the
copy has the layout, the symbols and the build ID of the original.
"""

import os
import struct

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NULL, DT_STRTAB, DT_RPATH, DT_RUNPATH = 0, 5, 15, 29
PAGE = 0x1000
HEADER = "<IIQQQQQQ"  # type, flags, offset, vaddr, paddr, filesz, memsz, align


def program_headers(data):
    """The position and the fields of each program header of a 64-bit little-endian ELF file."""
    if data[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    start, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    places = [start + i * size for i in range(count)]
    return [(place, list(struct.unpack_from(HEADER, data, place))) for place in places]


def interpreter_of(data):
    """The path of the dynamic loader that the program names."""
    for _, (kind, _, offset, _, _, filesz, _, _) in program_headers(data):
        if kind == PT_INTERP:
            return bytes(data[offset:offset + filesz]).rstrip(b"\0").decode()
    raise ValueError("no dynamic loader named: a static program?")


def add_to_a_segment(data, text):
    """Puts `text` in the unused end of a loaded segment's last page; gives (offset, vaddr).

    The linker starts each segment on a page of its own, so such an end is mapped already:
    to have it belong to the segment, only the segment's length grows.
    """
    loads = [(place, head) for place, head in program_headers(data) if head[0] == PT_LOAD]
    for i, (place, head) in enumerate(loads):
        offset, vaddr, filesz, memsz = head[2], head[3], head[5], head[6]
        end = offset + filesz
        room_end = (end + PAGE - 1) // PAGE * PAGE
        if i + 1 < len(loads):
            room_end = min(room_end, loads[i + 1][1][2])
            if vaddr + filesz + len(text) > loads[i + 1][1][3] // PAGE * PAGE:
                continue
        room = data[end:min(room_end, len(data))]
        if filesz != memsz or len(room) < len(text) or any(room[:len(text)]):
            continue
        data[end:end + len(text)] = text
        head[5] += len(text)
        head[6] += len(text)
        struct.pack_into(HEADER, data, place, *head)
        return end, vaddr + filesz
    raise ValueError("no segment has %d unused bytes at its end" % len(text))


def set_library_path(data, vaddr):
    """Makes the string at `vaddr` the program's DT_RPATH, which dlopen'ed libraries obey too."""
    head = next(head for _, head in program_headers(data) if head[0] == PT_DYNAMIC)
    entries = [(place, *struct.unpack_from("<qQ", data, place))
               for place in range(head[2], head[2] + head[5], 16)]
    strings = next(value for _, tag, value in entries if tag == DT_STRTAB)
    old = [place for place, tag, _ in entries if tag in (DT_RPATH, DT_RUNPATH)]
    unused = [place for place, tag, _ in entries if tag == DT_NULL]
    if len(old) + len(unused) < 2 or len(old) > 1 or vaddr < strings:
        raise ValueError("no room for a library path in the dynamic section")
    place = old[0] if old else unused[0]  # the last DT_NULL stays: it ends the list
    struct.pack_into("<qQ", data, place, DT_RPATH, vaddr - strings)


def relocate(source, target, loader, library_path):
    """Writes `target`: the program `source`, to be started by `loader`, libraries from `library_path`."""
    with open(source, "rb") as file:
        data = bytearray(file.read())
    interp, rpath = loader.encode() + b"\0", library_path.encode() + b"\0"
    offset, vaddr = add_to_a_segment(data, interp + rpath)
    for place, head in program_headers(data):
        if head[0] == PT_INTERP:
            head[2:7] = [offset, vaddr, vaddr, len(interp), len(interp)]
            struct.pack_into(HEADER, data, place, *head)
    set_library_path(data, vaddr + len(interp))
    if os.path.exists(target):
        with open(target, "rb") as file:
            if file.read() == data:
                return  # processes that run it keep their /proc/PID/exe
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target + ".new", "wb") as file:
        file.write(data)
    os.chmod(target + ".new", 0o755)
    os.replace(target + ".new", target)
