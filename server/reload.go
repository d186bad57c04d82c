package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/unisondb/unisondb/server/config"
	"github.com/unisondb/unisondb/server/httpapi"
)

// reloadGrace is how long a reload waits for plugins that are no longer wanted.
const reloadGrace = 30 * time.Second

// errNotRunning answers a reload before the start and behind the end.
var errNotRunning = &httpapi.Error{Status: http.StatusServiceUnavailable, Code: httpapi.CodeNotReady, RetryAfter: time.Second,
	Message: "the node is starting or stopping, so its configuration was not read: try again"}

// Reload reads the configuration again and answers what has changed, a few words
// each. It is all or nothing: an error, which is an *httpapi.Error, means that nothing
// has changed. When ctx ends, plugins that are no longer wanted are ended at once, and the
// configuration is in force all the same. It implements httpapi.Node.
func (n *Node) Reload(ctx context.Context) (changed []string, err error) {
	n.reloading.Lock()
	defer n.reloading.Unlock()
	if n.running == nil || n.running.Err() != nil {
		return nil, errNotRunning
	}
	ended := n.reloads()
	defer func() { ended(err) }()
	cfg, err := n.readAgain()
	if err != nil {
		n.log.Error("configuration not reloaded", "error", err)
		return nil, err
	}
	changed = changesOf(&n.loaded, cfg)
	n.apply(ctx, cfg)
	n.log.Info("configuration reloaded", "changed", changed)
	return changed, nil
}

// readAgain is the new configuration, if it can be applied as a whole.
func (n *Node) readAgain() (*config.Config, error) {
	if n.load == nil {
		return nil, refusedReload(httpapi.CodeConfigInvalid, "this node was started without configuration files, so there is nothing to read again")
	}
	cfg, err := n.load()
	var invalid *config.Error
	switch {
	case errors.As(err, &invalid):
		var problems []string
		for _, d := range invalid.Diagnostics {
			problems = append(problems, d.String())
		}
		return nil, refusedReload(httpapi.CodeConfigInvalid, "nothing was changed, because the configuration isn't valid", problems...)
	case err != nil:
		return nil, refusedReload(httpapi.CodeConfigInvalid, "nothing was changed, because the configuration can't be read: "+err.Error())
	}
	if problems := problemsOf(cfg.NotBuilt()); len(problems) > 0 {
		return nil, refusedReload(httpapi.CodeConfigInvalid, "nothing was changed, because this version can't do all of it", problems...)
	}
	var fixed []string
	for _, c := range n.loaded.Fixed(cfg) {
		fixed = append(fixed, c.String())
	}
	if len(fixed) > 0 {
		return nil, refusedReload(httpapi.CodeConfigFixed,
			"nothing was changed, because only notifiers, models and the log's level can change while the node runs: restart the node, or put back what was there", fixed...)
	}
	return cfg, nil
}

func problemsOf(errs []error) []string {
	var problems []string
	for _, err := range errs {
		problems = append(problems, err.Error())
	}
	return problems
}

// refusedReload is an answer that lists everything that is in the way.
func refusedReload(code, message string, problems ...string) error {
	text := message
	if len(problems) > 0 {
		text += ":\n  " + strings.Join(problems, "\n  ")
	}
	return &httpapi.Error{Status: http.StatusConflict, Code: code, Message: text, Reasons: problems}
}

// apply takes a configuration that differs only in what can change.
func (n *Node) apply(ctx context.Context, cfg *config.Config) {
	if cfg.Log.Level != n.loaded.Log.Level {
		n.log.SetLevel(hclog.LevelFromString(cfg.Log.Level))
	}
	n.applyLocked(ctx, cfg)
	n.loaded = *cfg
}

// changesOf says what differs of what can change.
func changesOf(old, cfg *config.Config) []string {
	var changed []string
	if old.Log.Level != cfg.Log.Level {
		changed = append(changed, fmt.Sprintf("log level: %s, was %s", cfg.Log.Level, old.Log.Level))
	}
	was, is := pluginBlocks(old), pluginBlocks(cfg)
	for _, b := range is.blocks {
		before, ok := was.byTitle[b.title]
		switch {
		case !ok:
			changed = append(changed, b.title+": added")
		case !reflect.DeepEqual(before, b.value):
			changed = append(changed, b.title+": changed")
		}
	}
	for _, b := range was.blocks {
		if _, ok := is.byTitle[b.title]; !ok {
			changed = append(changed, b.title+": removed")
		}
	}
	return changed
}

// pluginBlock is a notifier or a model, without where it stands.
type pluginBlock struct {
	title string
	value any
}

type blockList struct {
	blocks  []pluginBlock
	byTitle map[string]any
}

func pluginBlocks(cfg *config.Config) blockList {
	l := blockList{byTitle: map[string]any{}}
	add := func(title string, value any) {
		l.blocks = append(l.blocks, pluginBlock{title, value})
		l.byTitle[title] = value
	}
	for _, b := range cfg.Notifiers {
		b.Where = nil
		add(fmt.Sprintf("notifier %q %q", b.Type, b.Name), b)
	}
	for _, b := range cfg.Models {
		b.Where = nil
		add(fmt.Sprintf("model %q", b.Name), b)
	}
	return l
}
