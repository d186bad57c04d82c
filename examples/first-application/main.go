// Program seats sells the seats of a small theatre, each once. It writes on a hub and reads on a relayer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/unisondb/unisondb/sdk/client"
)

func main() {
	hub := flag.String("hub", "http://127.0.0.1:4000", "the `address` to write to")
	near := flag.String("near", "http://127.0.0.1:4010", "the `address` to read from")
	flag.Parse()
	t, err := open(*hub, *near)
	if err == nil {
		err = t.run(context.Background(), flag.Args())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "seats:", err)
		os.Exit(1)
	}
}

// #region open

// theatre reads close by and writes where writes are taken.
type theatre struct{ hub, near *client.Client }

func open(hub, near string) (theatre, error) {
	session := client.NewSession() // what was written by one is seen by the other
	h, err := client.New(client.Config{Address: hub})
	if err != nil {
		return theatre{}, err
	}
	n, err := client.New(client.Config{Address: near})
	if err != nil {
		return theatre{}, err
	}
	return theatre{h.WithSession(session), n.WithSession(session)}, nil
}

// #endregion open

// run does what the arguments say.
func (t theatre) run(ctx context.Context, args []string) error {
	switch {
	case len(args) > 1 && args[0] == "open":
		return t.offer(ctx, args[1:])
	case len(args) == 3 && args[0] == "sell":
		return t.sell(ctx, args[1], args[2])
	case len(args) == 1 && args[0] == "list":
		return t.list(ctx)
	}
	return errors.New("write: open SEAT…, sell SEAT BUYER, or list")
}

// #region offer

// offer puts seats on sale, those that aren't yet.
func (t theatre) offer(ctx context.Context, seats []string) error {
	for _, seat := range seats {
		_, err := t.hub.KV().Put(ctx, key(seat), []byte("free"), client.IfAbsent())
		if err != nil && !errors.Is(err, client.ErrConditionFailed) {
			return err
		}
	}
	return t.list(ctx)
}

func key(seat string) []byte { return []byte("seat:" + seat) }

// #endregion offer

// #region sell

// sell gives a seat to a buyer if it is free: seat and ticket change together, or not at all.
func (t theatre) sell(ctx context.Context, seat, buyer string) error {
	result, err := t.hub.Txn(ctx, client.Txn{
		If: []client.Condition{client.KeyValueIs(key(seat), []byte("free"))},
		Then: []client.Op{
			client.OpPut(key(seat), []byte("sold")),
			client.OpPutRow([]byte("ticket:"+seat), map[string][]byte{"buyer": []byte(buyer)}),
		},
	})
	if err != nil {
		return err
	}
	if !result.Succeeded {
		return fmt.Errorf("%s isn't free", seat)
	}
	fmt.Printf("%s is %s's\n", seat, buyer)
	return t.list(ctx)
}

// #endregion sell

// #region list

// list reads from the node close by. It has what this program has written: the session waits for it.
func (t theatre) list(ctx context.Context) error {
	for item, err := range t.near.KV().List(ctx, client.ListOptions{Prefix: []byte("seat:")}) {
		if err != nil {
			return err
		}
		fmt.Printf("%s\t%s\n", item.Key, item.Value)
	}
	return nil
}

// #endregion list
