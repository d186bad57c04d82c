package sdktest

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/unisondb/unisondb/sdk/notifier"
	"github.com/unisondb/unisondb/sdk/plugin"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// NotifierOptions say what a suite needs to know of a notifier.
type NotifierOptions struct {
	// Config makes a configuration that works, with a receiver of its own: each part
	// of the suite calls it once and configures a fresh notifier.
	Config func(t *testing.T) map[string]any
	// BadConfigs are to be rejected.
	BadConfigs []BadConfig
	// Received, if it is there, gives all that the receiver of the newest Config has
	// got so far, in order: what was accepted must be in it. Without it the suite sees only
	// what the notifier answers.
	Received func(t *testing.T) []notifier.Message
	// Break, if it is there, has the receiver of the newest Config accept nothing
	// more, until mend is called.
	Break func(t *testing.T) (mend func())
}

// BadConfig is a configuration with a mistake.
type BadConfig struct {
	Name   string
	Config map[string]any
	Path   string // of the argument that is to be blamed: "tls.cert_file"; empty: the whole
}

// Notifier runs the suite on a notifier in this process. program makes a fresh
// one each time.
func Notifier(t *testing.T, program func(t *testing.T) notifier.Program, o NotifierOptions) {
	t.Helper()
	notifierSuite(t, notifierInProcess(program), o)
}

// NotifierProgram runs the suite on an executable, in whatever language it is
// written.
func NotifierProgram(t *testing.T, path string, o NotifierOptions) {
	t.Helper()
	path, err := exec.LookPath(path)
	if err != nil {
		t.Fatalf("find the notifier: %v", err)
	}
	start := programStarter(path, nil)
	notifierSuite(t, start, o)
	t.Run("a large batch", notifierChecks{start: start, o: o}.large)
	t.Run("a node that is killed", func(t *testing.T) { orphan(t, path) })
}

func notifierSuite(t *testing.T, start starter, o NotifierOptions) {
	t.Helper()
	s := notifierChecks{start: start, o: o}
	t.Run("describe", func(t *testing.T) { describe(t, start, pluginv1.Kind_KIND_NOTIFIER) })
	t.Run("configuration", func(t *testing.T) { configuration(t, start, o.Config, o.BadConfigs) })
	for _, check := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"nothing before the configuration", s.unconfigured},
		{"order", s.order},
		{"namespaces at once", s.namespaces},
		{"every form of event", s.forms},
		{"the same again", s.redelivery},
		{"a receiver that refuses", s.refusals},
		{"cancellation", s.cancellation},
		{"what a later node sends", s.unknownFields},
		{"drain", s.drain},
	} {
		t.Run(check.name, check.run)
	}
}

// describe checks what a plugin says of itself.
func describe(t *testing.T, start starter, kind pluginv1.Kind) {
	p := start(t)
	d, err := p.plugin.Describe(deadline(t), &pluginv1.DescribeRequest{})
	if err != nil {
		t.Fatalf("Describe: %v", err)
	}
	if d.GetKind() != kind {
		t.Errorf("the plugin says that it is a %v, not a %v", d.GetKind(), kind)
	}
	if d.GetName() == "" || d.GetVersion() == "" {
		t.Errorf("the plugin has the name %q and the version %q: neither may be empty", d.GetName(), d.GetVersion())
	}
	schema(t, d.GetConfig(), "")
	methods := map[string]bool{}
	for _, m := range d.GetMethods() {
		if m.GetName() == "" || methods[m.GetName()] {
			t.Errorf("the method %q is there twice, or has no name", m.GetName())
		}
		methods[m.GetName()] = true
	}
	if kind == pluginv1.Kind_KIND_DATA_MODEL && len(methods) == 0 {
		t.Error("the data model has no methods")
	}
}

// schema checks that a schema can be held against a configuration.
func schema(t *testing.T, s *pluginv1.Schema, prefix string) {
	seen := map[string]bool{}
	named := func(name string) {
		if name == "" || seen[name] {
			t.Errorf("the schema has %q twice, or without a name", prefix+name)
		}
		seen[name] = true
	}
	for _, a := range s.GetAttributes() {
		named(a.GetName())
		if a.GetType() == pluginv1.Attribute_TYPE_UNSPECIFIED {
			t.Errorf("%s has no type", prefix+a.GetName())
		}
		if a.GetSensitive() && a.GetDefaultValue() != "" {
			t.Errorf("%s is sensitive and shows its default", prefix+a.GetName())
		}
	}
	for _, b := range s.GetBlocks() {
		named(b.GetName())
		schema(t, b.GetSchema(), prefix+b.GetName()+".")
	}
}

// configuration checks that good ones are taken and bad ones blamed.
func configuration(t *testing.T, start starter, good func(*testing.T) map[string]any, bad []BadConfig) {
	t.Run("good", func(t *testing.T) {
		p := start(t)
		if problems := configure(t, p, good(t)); len(problems) > 0 {
			t.Fatalf("the configuration that works was rejected: %v", problems)
		}
	})
	t.Run("unknown argument", func(t *testing.T) {
		c := good(t)
		c["no_such_argument"] = "x"
		blamed(t, configure(t, start(t), c), "no_such_argument")
	})
	for _, b := range bad {
		t.Run(b.Name, func(t *testing.T) { blamed(t, configure(t, start(t), b.Config), b.Path) })
	}
}

func blamed(t *testing.T, problems plugin.Problems, path string) {
	t.Helper()
	if len(problems) == 0 {
		t.Fatalf("the configuration was accepted, and %q is wrong in it", path)
	}
	for _, p := range problems {
		if p.Message == "" {
			t.Errorf("the problem with %q has no message", p.Path)
		}
		if p.Path == path {
			return
		}
	}
	t.Errorf("the problems are %v: none has the path %q", problems, path)
}

// configure does what a node does: it holds the configuration against the
// plugin's schema, and hands it over where that finds nothing.
func configure(t *testing.T, p running, arguments map[string]any) plugin.Problems {
	t.Helper()
	d, err := p.plugin.Describe(deadline(t), &pluginv1.DescribeRequest{})
	if err != nil {
		t.Fatalf("Describe: %v", err)
	}
	raw, err := json.Marshal(arguments)
	if err != nil {
		t.Fatalf("encode the configuration: %v", err)
	}
	var asJSON map[string]any
	if err := json.Unmarshal(raw, &asJSON); err != nil {
		t.Fatalf("the configuration is no JSON object: %v", err)
	}
	if problems := plugin.Check(d.GetConfig(), asJSON); len(problems) > 0 {
		return problems
	}
	answer, err := p.plugin.Configure(deadline(t), &pluginv1.ConfigureRequest{
		Config: raw, Name: "sdktest", NodeId: "node", Namespaces: []string{"default"}, ViewBrokerId: p.view,
	})
	if err != nil {
		t.Fatalf("Configure: %v", err)
	}
	var problems plugin.Problems
	for _, problem := range answer.GetProblems() {
		problems = append(problems, plugin.Problem{Path: problem.GetPath(), Message: problem.GetMessage()})
	}
	return problems
}
