package command

import (
	"context"
	"flag"
	"io"
	"io/fs"
	"strings"

	"github.com/unisondb/unisondb/sdk/client"
)

type lobPutCommand struct {
	*Meta
	keyFlag
	writeFlags
}

func (c *lobPutCommand) spec() spec {
	return spec{
		synopsis: "Write a large object",
		args:     "KEY FILE", minArgs: 2, maxArgs: 2,
		about: "Streams a file, or standard input where FILE is -, into an object of any size. An @ before FILE changes nothing: as a value of other commands, @FILE is a file, too. The object becomes visible when it is complete, and its checksum is compared with that of the bytes read.",
		examples: []string{
			"unisondb lob put film film.mp4",
			"tar c photos | unisondb lob put -ttl=24h photos.tar -",
		},
		writes: true,
	}
}

func (c *lobPutCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.keyFlag.define(fs)
	c.definePut(fs)
}

func (c *lobPutCommand) run(ctx context.Context, args []string) error {
	key, err := c.key(args[0])
	if err != nil {
		return err
	}
	opts, err := c.options()
	if err != nil {
		return err
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	body, size, err := c.source(args[1])
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // it was only read
	bar := c.newProgress(size)
	done, err := node.Objects().Put(ctx, key, bar.reader(body), size, opts...)
	bar.finish()
	if err != nil {
		return err
	}
	if c.asJSON {
		return c.printJSON(struct {
			jsonKey
			Success  bool            `json:"success"`
			Size     int64           `json:"size"`
			Checksum uint32          `json:"checksum"`
			Version  string          `json:"version,omitempty"`
			Position client.Position `json:"position"`
		}{newJSONKey(key), true, done.Size, done.CRC32, done.Version, done.Position})
	}
	c.message("Wrote %s, %s, CRC-32 %08x, at position %s.", quoted(key), formatBytes(done.Size), done.CRC32, done.Position)
	return nil
}

// source opens what is to be stored. The size is -1 where only reading it to the
// end would tell.
func (c *lobPutCommand) source(name string) (io.ReadCloser, int64, error) {
	if name == "-" {
		return io.NopCloser(c.stdin), -1, nil
	}
	name = strings.TrimPrefix(name, "@")
	file, err := openFile(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close() // the first error counts
		return nil, 0, localf("open %s: %w", name, causeOf(err))
	}
	switch info.Mode().Type() {
	case 0:
		return file, info.Size(), nil
	case fs.ModeDir:
		_ = file.Close() // it was only opened
		return nil, 0, localf("%s is a directory: pack it first, as in 'tar c %s | %s lob put KEY -'", name, name, Name)
	}
	return file, -1, nil
}
