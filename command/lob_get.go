package command

import (
	"context"
	"errors"
	"flag"
	"io"
	"os"
	"syscall"

	"github.com/unisondb/unisondb/sdk/client"
)

type lobGetCommand struct {
	*Meta
	keyFlag
	readFlags
	out    string
	offset int64
	length int64
}

func (c *lobGetCommand) spec() spec {
	return spec{
		synopsis: "Read a large object",
		args:     "KEY", minArgs: 1, maxArgs: 1,
		about: "Writes the bytes of an object, or a range of them, to standard output or to a file. The file appears, or is replaced, only when all has arrived and the checksum is right. " +
			"The status is 1 where the object is absent.",
		examples: []string{
			"unisondb lob get film > film.mp4",
			"unisondb lob get -out=film.mp4 film",
			"unisondb lob get -offset=1000 -length=24 film | xxd",
		},
	}
}

func (c *lobGetCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.keyFlag.define(fs)
	c.readFlags.define(fs)
	fs.StringVar(&c.out, "out", "", "Write to this `file`. Default: standard output.")
	fs.Int64Var(&c.offset, "offset", 0, "Begin at this `byte`; the first is 0.")
	fs.Int64Var(&c.length, "length", -1, "Read at most this `number` of bytes. Default: to the end.")
}

func (c *lobGetCommand) run(ctx context.Context, args []string) error {
	key, err := c.key(args[0])
	if err != nil {
		return err
	}
	if c.offset < 0 || c.length == 0 || c.length < -1 {
		return usagef("-offset must not be negative, and -length at least 1")
	}
	opts, err := c.options()
	if err != nil {
		return err
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	if c.out == "" {
		return c.fetch(ctx, node, key, opts, func(read func(io.Writer) error) error { return read(c.stdout) })
	}
	// A file half written must go when the user stops the command.
	ctx, stop := c.untilInterrupted(ctx)
	defer stop()
	return c.fetch(ctx, node, key, opts, func(read func(io.Writer) error) error { return writeFile(c.out, read) })
}

// fetch opens the object and lets sink run the copying. Nothing is made anywhere
// before the object is known to be there.
func (c *lobGetCommand) fetch(ctx context.Context, node *client.Client, key []byte, opts []client.ReadOption, sink func(func(io.Writer) error) error) error {
	object, err := c.open(ctx, node, key, opts)
	if err != nil {
		return absent(err, "object", key, node)
	}
	defer object.Close() //nolint:errcheck // reading it to the end tells all
	bar := c.newProgress(object.Length)
	defer bar.finish()
	return sink(func(w io.Writer) error {
		// A failed write and a failed read are different news.
		body := &readErrors{r: bar.reader(object)}
		_, err := io.Copy(struct{ io.Writer }{w}, body)
		if err != nil && body.err == nil {
			return localf("write the object: %w", causeOf(err))
		}
		return err
	})
}

func (c *lobGetCommand) open(ctx context.Context, node *client.Client, key []byte, opts []client.ReadOption) (*client.ObjectReader, error) {
	if c.offset == 0 && c.length < 0 {
		return node.Objects().Get(ctx, key, opts...)
	}
	return node.Objects().GetRange(ctx, key, c.offset, c.length, opts...)
}

// readErrors remembers the error of a reader, but for its end.
type readErrors struct {
	r   io.Reader
	err error
}

func (r *readErrors) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// untilInterrupted is a context that ends at SIGINT or SIGTERM.
func (m *Meta) untilInterrupted(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals, stopSignals := m.notify(os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		stopSignals()
		cancel()
		<-ended
	}
}
