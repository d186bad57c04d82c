package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/unisondb/unisondb/sdk/client"
)

// A value is written, read back where the write is visible, and removed.
func Example() {
	ctx := context.Background()
	c, err := client.New(client.Config{Address: "http://127.0.0.1:4000", Namespace: "default"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()

	pos, err := c.KV().Put(ctx, []byte("greeting"), []byte("hello"), client.TTL(time.Hour))
	if err != nil {
		fmt.Println(err)
		return
	}
	v, err := c.KV().Get(ctx, []byte("greeting"), client.AtLeast(pos))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", v.Data)
}

// A session that writes on a hub and reads on a relayer.
func ExampleSession() {
	ctx := context.Background()
	session := client.NewSession()
	hub, err := client.New(client.Config{Address: "http://hub:4000"})
	if err != nil {
		fmt.Println(err)
		return
	}
	relayer, err := client.New(client.Config{Address: "http://relayer:4000"})
	if err != nil {
		fmt.Println(err)
		return
	}
	hub, relayer = hub.WithSession(session), relayer.WithSession(session)

	if _, err := hub.KV().Put(ctx, []byte("stock:17"), []byte("3")); err != nil {
		fmt.Println(err)
		return
	}
	// The relayer waits until it has that write.
	v, err := relayer.KV().Get(ctx, []byte("stock:17"))
	fmt.Println(string(v.Data), err)
}

// A counter that others count, too: the condition says when to try again.
func ExampleIfVersion() {
	ctx := context.Background()
	c, err := client.New(client.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for {
		v, err := c.KV().Get(ctx, []byte("counter"))
		if err != nil {
			fmt.Println(err)
			return
		}
		_, err = c.KV().Put(ctx, []byte("counter"), append(v.Data, '|'), client.IfVersion(v.Version))
		if !errors.Is(err, client.ErrConditionFailed) {
			fmt.Println(err)
			return
		}
	}
}

// A file goes in and comes out without being held in memory.
func ExampleObjects() {
	ctx := context.Background()
	c, err := client.New(client.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	file, err := os.Open("film.mp4")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	if _, err := c.Objects().Put(ctx, []byte("film"), file, -1); err != nil {
		fmt.Println(err)
		return
	}
	object, err := c.Objects().Get(ctx, []byte("film"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer object.Close()
	_, err = io.Copy(os.Stdout, object)
	fmt.Println(err)
}

// Two keys change together, or not at all.
func ExampleClient_Txn() {
	ctx := context.Background()
	c, err := client.New(client.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	result, err := c.Txn(ctx, client.Txn{
		If:   []client.Condition{client.KeyValueIs([]byte("seat:12A"), []byte("free"))},
		Then: []client.Op{client.OpPut([]byte("seat:12A"), []byte("taken")), client.OpPut([]byte("ticket:9"), []byte("12A"))},
	})
	fmt.Println(result.Succeeded, err)
}
