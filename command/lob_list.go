package command

import (
	"context"
	"flag"
	"strconv"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

type lobListCommand struct {
	*Meta
	listFlags
}

func (c *lobListCommand) spec() spec {
	return spec{
		synopsis: "List large objects",
		about: "Lists objects in the order of the bytes of their keys, as they arrive. Keys that aren't plain text are quoted and escaped. " +
			"A long list is read page by page, each page at one position.",
		examples: []string{
			"unisondb lob list -prefix=films/",
			"unisondb lob list -json -limit=10",
		},
	}
}

func (c *lobListCommand) flags(fs *flag.FlagSet) {
	c.clientFlags(fs)
	c.jsonFlag(fs)
	c.listFlags.define(fs)
}

func (c *lobListCommand) run(ctx context.Context, _ []string) error {
	o, opts, err := c.options()
	if err != nil {
		return err
	}
	node, err := c.client()
	if err != nil {
		return err
	}
	l := c.newList("KEY", "BYTES", "EXPIRES", "VERSION")
	for object, err := range node.Objects().List(ctx, o, opts...) {
		if err != nil {
			return l.close(err)
		}
		err := l.add(newJSONObject(object), readable(object.Key), strconv.FormatInt(object.Size, 10), formatExpiry(object.ExpiresAt), object.Version)
		if err != nil {
			return err
		}
	}
	return l.close(nil)
}

// jsonObject is an object in JSON, in the form of the API.
type jsonObject struct {
	jsonKey
	Size      int64      `json:"size"`
	Version   string     `json:"version"`
	Checksum  *uint32    `json:"checksum,omitempty"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
}

func newJSONObject(o client.Object) jsonObject {
	return jsonObject{newJSONKey(o.Key), o.Size, o.Version, o.CRC32, jsonTime(o.ExpiresAt)}
}
