package codec

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
)

// A namespace's meta.json, as far as every reader of it must agree.
const (
	// MetaMagic is what it says that it is.
	MetaMagic = "unisondb-namespace"
	// MetaFormat is the format of the file, and with it of the namespace's whole
	// directory, that this build writes. It reads no newer one.
	MetaFormat = 1
	// CheckpointFormat is that of the checkpoint's JSON in the tree.
	CheckpointFormat = 1
)

// A seal ends a file of indented JSON: the CRC-32C of all bytes before it, as the
// last member.
const (
	seal    = ",\n  \"crc32c\": \"%08x\"\n}\n"
	sealLen = len(seal) - len("%08x") + 8
)

// Seal ends indented JSON of an object with its checksum.
func Seal(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte("\n}"))
	return fmt.Appendf(b, seal, crc32.Checksum(b, Castagnoli))
}

// CheckSeal says what is wrong with a file that Seal has ended.
func CheckSeal(b []byte) error {
	at := max(len(b)-sealLen, 0)
	if want := fmt.Sprintf(seal, crc32.Checksum(b[:at], Castagnoli)); string(b[at:]) != want {
		return errors.New("doesn't have the checksum that it should")
	}
	return nil
}
