package release

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/boost"
	"example.com/edge-inference/payments"
)

// ErrNone says that nothing has been published, as far as the node knows.
var ErrNone = errors.New("no release was published yet")

// #region load

// Load reads the release that is in force on a node. Parts that it shares with have, which may
// be nil, are taken from there.
func Load(ctx context.Context, node *client.Client, have *Release) (*Release, error) {
	record, position, err := readRecord(ctx, node)
	if err != nil {
		return nil, err
	}
	if have != nil && have.record == record && position.Follows(have.position) {
		return have, nil
	}
	return assemble(ctx, node, record, position, have)
}

// readRecord reads manifest and policy at one LSN: a transaction that only reads is answered by
// every node, relayers too, from one state.
func readRecord(ctx context.Context, node *client.Client) (r Record, p client.Position, err error) {
	reads := []client.Op{client.OpGet([]byte(ManifestKey))}
	for _, key := range policyKeys {
		reads = append(reads, client.OpGet([]byte(key)))
	}
	answer, err := node.Txn(ctx, client.Txn{Then: reads})
	if err != nil {
		return r, p, err
	}
	if !answer.Results[0].Found {
		return r, p, ErrNone
	}
	if r.Manifest, err = parseManifest(answer.Results[0].Value); err != nil {
		return r, p, err
	}
	r.Policy, err = parsePolicy(answer.Results[1:])
	return r, answer.Position, err
}

// assemble reads weights and features that a manifest names. They never change, so that it
// doesn't matter when they are read, if only in a state that has them: that of the manifest or
// a later one.
func assemble(ctx context.Context, node *client.Client, r Record, p client.Position, have *Release) (*Release, error) {
	var w *weights
	var f *features
	var err error
	if have != nil && have.weights.sha256 == r.WeightsSHA256 {
		w = have.weights
	} else if w, err = readWeights(ctx, node, r.Weights, client.AtLeast(p)); err != nil {
		return nil, err
	}
	if have != nil && have.features.sha256 == r.FeaturesSHA256 {
		f = have.features
	} else if f, err = readFeatures(ctx, node, r.Features, client.AtLeast(p)); err != nil {
		return nil, err
	}
	return newRelease(r, p, w, f)
}

// #endregion load

func readWeights(ctx context.Context, node *client.Client, key string, at client.ReadOption) (*weights, error) {
	object, err := node.Objects().Get(ctx, []byte(key), at)
	if err != nil {
		return nil, fmt.Errorf("read the weights %q: %w", key, err)
	}
	defer object.Close() //nolint:errcheck // nothing is written through a reader
	sum := sha256.New()
	encoded, err := io.ReadAll(io.TeeReader(object, sum))
	if err != nil {
		return nil, fmt.Errorf("read the weights %q: %w", key, err)
	}
	model, err := boost.Decode(encoded)
	if err != nil {
		return nil, fmt.Errorf("decode %q: %w", key, err)
	}
	return &weights{model: model, sha256: hex.EncodeToString(sum.Sum(nil))}, nil
}

func readFeatures(ctx context.Context, node *client.Client, prefix string, at client.ReadOption) (*features, error) {
	f := &features{profiles: map[string]payments.Profile{}}
	for row, err := range node.Rows().List(ctx, client.ListOptions{Prefix: []byte(prefix)}, at) {
		if err != nil {
			return nil, fmt.Errorf("read the features %q: %w", prefix, err)
		}
		profile, err := payments.ParseProfile(row.Columns)
		if err != nil {
			return nil, fmt.Errorf("row %q: %w", row.Key, err)
		}
		f.profiles[strings.TrimPrefix(string(row.Key), prefix)] = profile
	}
	f.sha256 = sumOf(f.profiles)
	return f, nil
}

// LoadRecorded reads a release that was in force once, from its record.
func LoadRecorded(ctx context.Context, node *client.Client, number int) (*Release, error) {
	v, err := node.KV().Get(ctx, []byte(RecordKey(number)))
	if err != nil {
		return nil, fmt.Errorf("read the record of release %d: %w", number, err)
	}
	var r Record
	if err := json.Unmarshal(v.Data, &r); err != nil {
		return nil, fmt.Errorf("read the record of release %d: %w", number, err)
	}
	return assemble(ctx, node, r, v.Position, nil)
}
