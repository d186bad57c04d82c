// Command train is the centre: it trains a model, measures it on payments that it has not seen,
// and publishes it with features and policy as one release.
//
//	train -model=1 -decline-at=0.8          the first model: 600 payments, amounts only
//	train -model=2                          the second: 8,000, and what is usual for the card
//	train -policy-only -decline-at=0.6      the policy alone
//	train -burst=12                         releases as fast as they come
//	train -prune=3                          delete what the newest three don't need
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/unisondb/unisondb/sdk/client"

	"example.com/edge-inference/release"
)

// heldOut is how many payments a model is measured with.
const heldOut = 4000

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
}

// orders are the command's flags.
type orders struct {
	hub        string
	model      int
	policyOnly bool
	burst      int
	prune      int
	policy     release.Policy
}

func run() error {
	var o orders
	flag.StringVar(&o.hub, "hub", "http://127.0.0.1:4800", "HTTP address of the hub")
	flag.IntVar(&o.model, "model", 1, "which model to train: 1 or 2")
	flag.BoolVar(&o.policyOnly, "policy-only", false, "publish the policy alone, with weights and features as they are")
	flag.IntVar(&o.burst, "burst", 0, "publish that many releases one after the other, each with a model of its own")
	flag.IntVar(&o.prune, "prune", 0, "publish nothing, and delete what that many of the newest releases don't need")
	flag.Float64Var(&o.policy.DeclineAt, "decline-at", 0.8, "score at which a payment is declined")
	flag.Float64Var(&o.policy.ReviewAt, "review-at", 0.5, "score at which a person looks at it")
	flag.Float64Var(&o.policy.MaxAmount, "max-amount", 500, "amount above which a person looks at it")
	flag.Parse()
	hub, err := client.New(client.Config{Address: o.hub, Namespace: release.Namespace})
	if err != nil {
		return err
	}
	defer hub.Close()
	return o.carryOut(context.Background(), hub)
}

func (o orders) carryOut(ctx context.Context, hub *client.Client) error {
	switch {
	case o.policyOnly:
		return publish(ctx, hub, release.Draft{Policy: &o.policy})
	case o.prune > 0:
		pruned, err := release.Prune(ctx, hub, o.prune)
		fmt.Printf("pruned releases %v\n", pruned)
		return err
	case o.burst > 0:
		return o.publishMany(ctx, hub)
	}
	r, ok := recipes[o.model]
	if !ok {
		return fmt.Errorf("there is no model %d: use 1 or 2", o.model)
	}
	began := time.Now()
	trained := r.train()
	fmt.Printf("model %d: %d payments, inputs %v, %d stumps, trained in %s\n", o.model, r.payments, r.inputs, len(trained.model.Stumps), time.Since(began).Round(time.Millisecond))
	accuracy, baseline := trained.measure(heldOut)
	fmt.Printf("model %d: right in %.1f %% of %d held-out payments (never suspecting any: %.1f %%)\n", o.model, 100*accuracy, heldOut, 100*baseline)
	return publish(ctx, hub, trained.draft(o.policy))
}

// publishMany publishes as fast as the hub takes it, each time with another model, other
// features and another policy.
func (o orders) publishMany(ctx context.Context, hub *client.Client) error {
	for i := range o.burst {
		r := recipes[2]
		r.payments = 400 + 50*i
		policy := o.policy
		policy.DeclineAt = 0.6 + 0.3*float64(i)/float64(o.burst)
		if err := publish(ctx, hub, r.train().draft(policy)); err != nil {
			return err
		}
	}
	return nil
}

func publish(ctx context.Context, hub *client.Client, d release.Draft) error {
	r, p, err := release.Publish(ctx, hub, d)
	if err != nil {
		return err
	}
	fmt.Printf("release %d: %s, %s, declines at %.2f, at position %s\n", r.Release, r.Weights, r.Features, r.Policy.DeclineAt, p)
	return nil
}
