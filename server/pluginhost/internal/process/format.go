package process

import (
	"bufio"
	"bytes"
	"debug/elf"
	"debug/macho"
	"io"
	"os"
	"strings"
)

// machines are the names by which users know ELF's machines.
var machines = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_386: "386", elf.EM_ARM: "arm", elf.EM_RISCV: "riscv64",
	elf.EM_PPC64: "ppc64", elf.EM_S390: "s390x", elf.EM_LOONGARCH: "loong64", elf.EM_MIPS: "mips",
}

// formatOf says what a file is that the system can't execute. The file may be
// anything, so no more than its beginning is looked at.
func formatOf(path string) string {
	head := headOf(path)
	switch {
	case len(head) >= 20 && string(head[:4]) == elf.ELFMAG:
		return "it is built for " + machineOf(head)
	case len(head) >= 4 && isMachO(head):
		return "it is built for macOS"
	case bytes.HasPrefix(head, []byte("MZ")):
		return "it is built for Windows"
	case len(head) == 0:
		return "it is empty"
	}
	return "it is neither a program nor a script that begins with #!"
}

// machineOf reads the machine in the head of an ELF file.
func machineOf(head []byte) string {
	machine := elf.Machine(head[18]) | elf.Machine(head[19])<<8
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		machine = elf.Machine(head[19]) | elf.Machine(head[18])<<8
	}
	if name, ok := machines[machine]; ok {
		return name
	}
	return strings.ToLower(strings.TrimPrefix(machine.String(), "EM_"))
}

func isMachO(head []byte) bool {
	magic := uint32(head[0]) | uint32(head[1])<<8 | uint32(head[2])<<16 | uint32(head[3])<<24
	return magic == macho.Magic64 || magic == macho.Magic32 || magic == 0xbebafeca // a universal one
}

// interpreterOf is what executes a program: a script's #! line, or an ELF's loader.
func interpreterOf(path string) string {
	head := headOf(path)
	if line, ok := bytes.CutPrefix(head, []byte("#!")); ok {
		first, _, _ := strings.Cut(string(line), "\n")
		if fields := strings.Fields(first); len(fields) > 0 {
			return printable(fields[0], 200)
		}
		return ""
	}
	f, err := elf.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			name := make([]byte, min(p.Filesz, 200))
			n, _ := io.ReadFull(p.Open(), name)
			return printable(string(bytes.TrimRight(name[:n], "\x00")), 200)
		}
	}
	return ""
}

// headOf is the beginning of a file, as much as can be read of it.
func headOf(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // it was only read
	head, _ := bufio.NewReaderSize(f, 512).Peek(512)
	return head
}
