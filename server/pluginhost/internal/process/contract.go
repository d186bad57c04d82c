package process

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// describe asks the plugin who it is, and holds that against what is configured.
func (i *instance) describe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, i.timing.Describe)
	defer cancel()
	info, err := pluginv1.NewPluginClient(i.link.conn).Describe(ctx, &pluginv1.DescribeRequest{})
	if err != nil {
		return i.stepFailure(err, "Describe", i.timing.Describe)
	}
	i.info = bounded(info)
	path, o := i.program.path, i.opts
	switch {
	case info.GetKind() != o.Kind:
		return failed(retryChanged, "%s is a %s, not a %s: correct the block, or put the right program there", path, kindName(info.GetKind()), kindName(o.Kind))
	case info.GetName() != o.Type:
		return failed(retryChanged, "%s says that it is %q, not %q: put the right program there", path, i.info.GetName(), o.Type)
	case o.Version != "" && info.GetVersion() != o.Version:
		return failed(retryChanged, "%s is version %q, and the configuration pins %q: put that version there, or write version = %q", path, i.info.GetVersion(), o.Version, i.info.GetVersion())
	}
	return nil
}

// bounded keeps what a plugin says about itself within limits.
func bounded(info *pluginv1.DescribeResponse) *pluginv1.DescribeResponse {
	info, _ = proto.Clone(info).(*pluginv1.DescribeResponse) // of the same type
	info.Name = printable(info.GetName(), 100)
	info.Version = printable(info.GetVersion(), 100)
	info.Description = printable(info.GetDescription(), maxMessage)
	const maxMethods = 200
	info.Methods = info.GetMethods()[:min(len(info.GetMethods()), maxMethods)]
	for _, m := range info.GetMethods() {
		m.Description = printable(m.GetDescription(), maxMessage)
	}
	return info
}

func kindName(k pluginv1.Kind) string {
	switch k {
	case pluginv1.Kind_KIND_NOTIFIER:
		return "notifier"
	case pluginv1.Kind_KIND_DATA_MODEL:
		return "data model"
	}
	return "plugin of an unknown kind"
}

// configure checks the configuration and hands it over.
func (i *instance) configure(ctx context.Context) error {
	arguments := converted(i.info.GetConfig(), canonical(i.opts.Config))
	if problems := plugin.Check(i.info.GetConfig(), arguments); len(problems) > 0 {
		return i.misconfigured(problems, retryChanged)
	}
	raw, err := json.Marshal(arguments)
	if err != nil {
		return failed(retryChanged, "%s: its configuration can't be sent: %v", i.opts.place(""), err)
	}
	late := time.AfterFunc(i.timing.Configure, func() { i.child.kill(tooLate("Configure", i.timing.Configure)) })
	defer late.Stop()
	view, err := i.serveViews()
	if err != nil {
		return err
	}
	answer, err := pluginv1.NewPluginClient(i.link.conn).Configure(ctx, &pluginv1.ConfigureRequest{
		Config: raw, Name: i.opts.Name, NodeId: i.opts.NodeID, Namespaces: i.opts.Namespaces, ViewBrokerId: view,
	})
	if err != nil {
		return i.stepFailure(err, "Configure", i.timing.Configure)
	}
	if len(answer.GetProblems()) == 0 {
		return nil
	}
	var problems plugin.Problems
	for _, p := range answer.GetProblems() {
		problems = append(problems, plugin.Problem{Path: p.GetPath(), Message: p.GetMessage()})
	}
	return i.misconfigured(problems, retryLate)
}

// tooLate is the reason of a process that was killed because it didn't answer.
func tooLate(call string, limit time.Duration) string {
	return fmt.Sprintf("it didn't answer %s within %s", call, limit)
}

// stepFailure is an error of a call while the plugin comes up. One that the
// plugin itself made is told as it is; others may come from the process's end.
func (i *instance) stepFailure(err error, call string, limit time.Duration) error {
	switch s := status.Convert(err); s.Code() {
	case codes.Unavailable, codes.Canceled:
		return err
	case codes.DeadlineExceeded:
		i.child.kill(tooLate(call, limit))
		return err
	case codes.Unimplemented:
		return failed(retryChanged, "%s doesn't serve %s: %s: check that it is a plugin of UnisonDB", i.program.path, call, printable(s.Message(), maxMessage))
	default:
		return failed(retrySoon, "its %s failed: %s", call, printable(s.Message(), maxMessage))
	}
}

// misconfigured is all that is wrong with a configuration, a line for each.
func (i *instance) misconfigured(problems plugin.Problems, r retry) error {
	var b strings.Builder
	for n, p := range problems {
		if n == maxShown {
			fmt.Fprintf(&b, "\n… and %d more", len(problems)-n)
			break
		}
		if n > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(i.opts.place(p.Path) + ": ")
		if path := printable(p.Path, 200); path != "" {
			b.WriteString(path + ": ")
		}
		b.WriteString(printable(p.Message, maxMessage))
	}
	return &failure{reason: b.String(), retry: r, err: errMisconfigured}
}

// place is where an argument stands, or where the nearest block around it does.
func (o *Options) place(path string) string {
	if o.Where != nil {
		for {
			if at := o.Where(path); at != "" {
				return at
			}
			if path == "" {
				break
			}
			path = path[:max(strings.LastIndexByte(path, '.'), 0)]
		}
	}
	return fmt.Sprintf("%s %q", kindName(o.Kind), o.Name)
}

// canonical is a configuration in the types that JSON has: durations are text.
func canonical(arguments map[string]any) map[string]any {
	m := make(map[string]any, len(arguments))
	for name, v := range arguments {
		switch v := v.(type) {
		case nil:
		case time.Duration:
			m[name] = v.String()
		case map[string]any:
			m[name] = canonical(v)
		case fmt.Stringer:
			m[name] = v.String()
		default:
			m[name] = v
		}
	}
	return m
}

// alive asks an idle plugin for a sign of life.
func (i *instance) alive(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, i.timing.Alive)
	defer cancel()
	_, err := pluginv1.NewPluginClient(i.link.conn).Describe(ctx, &pluginv1.DescribeRequest{})
	code := status.Code(err)
	return code != codes.DeadlineExceeded && code != codes.Unavailable
}

// abandonedDrain is how long a plugin may drain that may hang.
const abandonedDrain = time.Second

// retire ends a plugin that worked: calls under way end, what it accepted is handed
// on, then it exits. Each has its time, and hurry ends all of them.
func (i *instance) retire(hurry context.Context) {
	defer i.release()
	limit := i.timing.Drain
	if i.abandoned.Load() { // if the plugin doesn't end a call that was given up, it won't drain either
		limit = min(limit, abandonedDrain)
	}
	ctx, cancel := context.WithTimeout(hurry, limit)
	defer cancel()
	idle := make(chan struct{})
	go func() {
		i.calls.Wait()
		close(idle)
	}()
	drained := false
	select {
	case <-idle:
		_, err := pluginv1.NewPluginClient(i.link.conn).Drain(ctx, &pluginv1.DrainRequest{})
		if drained = err == nil; !drained && status.Code(err) != codes.Unavailable { // or else it is gone
			i.opts.Logger.Warn("plugin didn't drain: what it accepted and didn't hand on may be lost", "error", printable(err.Error(), maxMessage))
		}
	case <-ctx.Done():
		i.opts.Logger.Warn("calls of the plugin didn't end in time", "waited", limit)
	}
	if !drained { // it wouldn't end by itself either
		i.child.kill("it didn't drain")
	}
	i.askToExit(hurry)
	<-idle // the calls end with the process
}

// askToExit has go-plugin ask the process to end, and kills it after a while.
func (i *instance) askToExit(hurry context.Context) {
	ctx, cancel := context.WithTimeout(hurry, i.timing.Exit)
	defer cancel()
	defer context.AfterFunc(ctx, func() { i.child.kill("it didn't end when it was asked to") })()
	i.client.Kill()
}
