package replicator

import (
	"github.com/unisondb/unisondb/dbkernel"
	dbv1 "github.com/unisondb/unisondb/sdk/proto/db/v1"
)

// packer turns runs of the log into batches of at most limit bytes, whole
// records where they fit and parts where one doesn't. It copies only where a batch
// is made of several pieces of memory.
type packer struct {
	limit   int
	emit    func(*dbv1.Batch) error // must be done with the batch when it returns
	scratch []byte                  // joins pieces; its contents last until the next batch

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
	b := &dbv1.Batch{FirstLsn: p.first, LastLsn: p.next - 1, CommitLsn: p.commit, Records: p.join()}
	err := p.emit(b)
	clear(p.pieces)
	p.pieces, p.size, p.first = p.pieces[:0], 0, p.next
	return err
}

func (p *packer) join() []byte {
	if len(p.pieces) == 1 {
		return p.pieces[0]
	}
	p.scratch = p.scratch[:0]
	for _, piece := range p.pieces {
		p.scratch = append(p.scratch, piece...)
	}
	return p.scratch
}

// split emits one record in parts.
func (p *packer) split(record []byte) error {
	for at := 0; at < len(record); at += p.limit {
		b := &dbv1.Batch{
			FirstLsn: p.next, LastLsn: p.next, CommitLsn: p.commit,
			Records:    record[at:min(at+p.limit, len(record))],
			PartOffset: uint32(at), RecordBytes: uint32(len(record)),
		}
		if err := p.emit(b); err != nil {
			return err
		}
	}
	p.next++
	p.first = p.next
	return nil
}

// release gives the memory of a burst back.
func (p *packer) release() { p.scratch, p.pieces = nil, nil }

// unpacker turns batches back into records and checks that they are the ones
// that come next. It is pure: what a source sends can't make it hold more than one record.
type unpacker struct {
	next uint64 // LSN of the record that comes next
	part []byte // of a record that hasn't arrived wholly
	want int    // length of that record; 0: none
}

// unpack returns the records that the batch completes.
func (u *unpacker) unpack(b *dbv1.Batch) (records [][]byte, err error) {
	if err := u.check(b); err != nil {
		return nil, err
	}
	if b.GetRecordBytes() > 0 {
		return u.addPart(b)
	}
	rest := b.GetRecords()
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

func (u *unpacker) addPart(b *dbv1.Batch) ([][]byte, error) {
	lsn, want, data := b.GetFirstLsn(), int(b.GetRecordBytes()), b.GetRecords()
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
