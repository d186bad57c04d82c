package replicator

import (
	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// batch is a run of records that travels as one, or a part of one record that
// travels alone. The records lie in as many pieces of memory as the log gave them in.
type batch struct {
	first, last, commit     uint64
	pieces                  [][]byte
	size                    int // bytes of all pieces
	partOffset, recordBytes int // of a part; recordBytes is 0 for whole records
}

// reach is how far a stream has come.
type reach struct {
	next uint64 // LSN of the record that comes next
	part int    // bytes of it that have been sent, in parts
}

// ends is how far a stream has come with this batch.
func (b batch) ends() reach {
	if sent := b.partOffset + b.size; sent < b.recordBytes {
		return reach{b.last, sent}
	}
	return reach{b.last + 1, 0}
}

// packer turns runs of the log into batches of at most limit bytes, whole
// records where they fit and parts where one doesn't. It copies nothing.
type packer struct {
	limit int
	sent  int               // bytes of the first record that parts of another packer have carried
	emit  func(batch) error // may keep the memory that pieces point to, not the slice of them

	commit uint64
	pieces [][]byte // whole records of the batch being filled
	size   int
	first  uint64 // LSN of its first record
	next   uint64 // LSN of the record that comes next
}

// pack emits everything in the run.
func (p *packer) pack(run dbkernel.Run) error {
	p.commit, p.first, p.next = run.Commit, run.First, run.First
	for _, piece := range run.Records {
		if err := p.addPiece(piece); err != nil {
			return err
		}
	}
	if p.next != run.Last+1 {
		return refuseForNow(CodeDamagedRecord, "the log gave LSN %d to %d but records up to %d", run.First, run.Last, p.next-1)
	}
	return p.flush()
}

// addPiece takes one or more whole records that lie side by side.
func (p *packer) addPiece(piece []byte) error {
	for len(piece) > 0 {
		n, records, err := p.measure(piece)
		if err != nil {
			return err
		}
		switch {
		case p.sent > 0: // goes on in parts, even if it would fit
			if n, err = recordLen(piece); err == nil {
				err = p.split(piece[:n])
			}
			if err != nil {
				return err
			}
		case records > 0:
			p.pieces = append(p.pieces, piece[:n])
			p.size += n
			p.next += records
		case p.size > 0: // the next record doesn't fit beside these
			if err := p.flush(); err != nil {
				return err
			}
			continue
		default: // nor alone
			if err := p.split(piece[:n]); err != nil {
				return err
			}
		}
		piece = piece[n:]
	}
	return nil
}

// measure says how many of the records at the start of piece still fit into the
// batch, and their bytes; with none, it says how long the first record is.
func (p *packer) measure(piece []byte) (bytes int, records uint64, err error) {
	for rest := piece; len(rest) > 0; records++ {
		n, err := recordLen(rest)
		if err != nil {
			return 0, 0, err
		}
		if n > len(rest) {
			return 0, 0, refuseForNow(CodeDamagedRecord, "a record claims %d bytes of the %d that the log gave", n, len(rest))
		}
		if p.size+bytes+n > p.limit {
			if records == 0 {
				return n, 0, nil
			}
			break
		}
		bytes += n
		rest = rest[n:]
	}
	return bytes, records, nil
}

// flush emits what has been gathered.
func (p *packer) flush() error {
	if p.size == 0 {
		return nil
	}
	err := p.emit(batch{first: p.first, last: p.next - 1, commit: p.commit, pieces: p.pieces, size: p.size})
	clear(p.pieces)
	p.pieces, p.size, p.first = p.pieces[:0], 0, p.next
	return err
}

// split emits one record in parts, as far as it wasn't sent.
func (p *packer) split(record []byte) error {
	at := p.sent
	for p.sent = 0; at < len(record); at += p.limit {
		part := record[at:min(at+p.limit, len(record))]
		err := p.emit(batch{
			first: p.next, last: p.next, commit: p.commit,
			pieces: [][]byte{part}, size: len(part), partOffset: at, recordBytes: len(record),
		})
		if err != nil {
			return err
		}
	}
	p.next++
	p.first = p.next
	return nil
}

// release gives the memory of a burst back.
func (p *packer) release() { p.pieces = nil }

// unpacker turns batches back into records and checks that they are the ones
// that come next. It is pure: what a source sends can't make it hold more than one record.
type unpacker struct {
	zstd *decompressor // of batches, if they may be compressed; nil: that wasn't agreed on
	next uint64        // LSN of the record that comes next
	part []byte        // of a record that hasn't arrived wholly
	want int           // length of that record; 0: none
}

// unpack returns the records that the batch completes.
func (u *unpacker) unpack(b *dbv1.Batch) (records [][]byte, err error) {
	if err := u.check(b); err != nil {
		return nil, err
	}
	rest, err := u.raw(b)
	if err != nil {
		return nil, err
	}
	if b.GetRecordBytes() > 0 {
		return u.addPart(b, rest)
	}
	records = make([][]byte, 0, b.GetLastLsn()-b.GetFirstLsn()+1)
	for lsn := b.GetFirstLsn(); lsn <= b.GetLastLsn(); lsn++ {
		var record []byte
		if record, rest, err = cutRecord(rest, lsn); err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	if len(rest) > 0 {
		return nil, refuseForNow(CodeInvalidMessage, "a batch of LSN %d to %d has %d bytes too many", b.GetFirstLsn(), b.GetLastLsn(), len(rest))
	}
	u.next = max(u.next, b.GetLastLsn()+1)
	return records, nil
}

func (u *unpacker) check(b *dbv1.Batch) error {
	first, last := b.GetFirstLsn(), b.GetLastLsn()
	switch {
	case first == 0 || last < first || last-first >= maxPartBytes/recPrefix:
		return refuseForNow(CodeInvalidMessage, "a batch claims LSN %d to %d", first, last)
	case len(b.GetRecords()) > maxPartBytes:
		return refuseForNow(CodeInvalidMessage, "a batch of %d bytes is over the limit of %d", len(b.GetRecords()), maxPartBytes)
	case b.GetCommitLsn() < last:
		return refuseForNow(CodeInvalidMessage, "a batch carries LSN %d, which isn't committed (commit LSN %d)", last, b.GetCommitLsn())
	case first > u.next:
		return refuseForNow(CodeGap, "LSN %d came where %d belongs: it is asked for again", first, u.next)
	case u.want > 0 && b.GetRecordBytes() == 0:
		return refuseForNow(CodeInvalidMessage, "LSN %d came before all parts of LSN %d had", first, u.next)
	}
	return nil
}

// raw is what a batch carries as it was before compression.
func (u *unpacker) raw(b *dbv1.Batch) ([]byte, error) {
	n := b.GetUncompressedBytes()
	switch {
	case n == 0:
		return b.GetRecords(), nil
	case u.zstd == nil:
		return nil, refuseForNow(CodeInvalidMessage, "a batch is compressed, which wasn't agreed on")
	case n > maxPartBytes:
		return nil, refuseForNow(CodeInvalidMessage, "a batch of %d bytes is over the limit of %d", n, maxPartBytes)
	}
	raw, err := u.zstd.decompress(b.GetRecords(), int(n))
	if err != nil {
		return nil, refuseForNow(CodeDamagedRecord, "the batch of LSN %d to %d is damaged: %v; it is asked for again", b.GetFirstLsn(), b.GetLastLsn(), err)
	}
	return raw, nil
}

// rawBytes is the length of what a batch carries before compression.
func rawBytes(b *dbv1.Batch) int { return max(len(b.GetRecords()), int(b.GetUncompressedBytes())) }

func (u *unpacker) addPart(b *dbv1.Batch, data []byte) ([][]byte, error) {
	lsn, want := b.GetFirstLsn(), int(b.GetRecordBytes())
	switch {
	case b.GetLastLsn() != lsn || lsn != u.next:
		return nil, refuseForNow(CodeInvalidMessage, "a part of LSN %d to %d came where LSN %d belongs", lsn, b.GetLastLsn(), u.next)
	case want > maxRecordBytes:
		return nil, refuseForNow(CodeInvalidMessage, "the record of LSN %d has %d bytes, over the limit of %d", lsn, want, maxRecordBytes)
	case int(b.GetPartOffset()) != len(u.part) || u.want > 0 && want != u.want:
		return nil, refuseForNow(CodeGap, "a part of LSN %d begins at byte %d of %d where byte %d of %d belongs: it is asked for again",
			lsn, b.GetPartOffset(), want, len(u.part), u.want)
	case len(data) == 0 || len(u.part)+len(data) > want:
		return nil, refuseForNow(CodeInvalidMessage, "a part of %d bytes doesn't fit at byte %d of LSN %d, which has %d", len(data), len(u.part), lsn, want)
	}
	u.want = want
	u.part = append(u.part, data...)
	if len(u.part) < want {
		return nil, nil
	}
	record, rest, err := cutRecord(u.part, lsn)
	if err == nil && len(rest) > 0 {
		err = refuseForNow(CodeDamagedRecord, "the record of LSN %d has %d bytes and claims %d", lsn, want, len(record))
	}
	u.part, u.want = nil, 0
	if err != nil {
		return nil, err
	}
	u.next++
	return [][]byte{record}, nil
}
