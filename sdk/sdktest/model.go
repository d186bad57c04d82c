package sdktest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/unisondb/unisondb/sdk/datamodel"
	pluginv1 "github.com/unisondb/unisondb/sdk/proto/plugin/v1"
)

// ModelOptions say what a suite needs to know of a data model.
type ModelOptions struct {
	// Config is a configuration that works; nil: an empty one.
	Config map[string]any
	// BadConfigs are to be rejected.
	BadConfigs []BadConfig
	// Writes are requests that bring data in, in order. Each has to succeed.
	Writes []Request
	// Queries are requests whose answers are a function of the data: two nodes with
	// the same data have to answer the same bytes.
	Queries []Request
	// BadRequests are to be answered with a status of 400 to 499.
	BadRequests []Request
}

// Request is a client's request to a data model.
type Request struct {
	Method string
	Body   any // encoded as JSON, unless it is a []byte
}

// DataModel runs the suite on a data model in this process. program makes a
// fresh one each time.
func DataModel(t *testing.T, program func(t *testing.T) datamodel.Program, o ModelOptions) {
	t.Helper()
	node := newFakeNode()
	modelSuite(t, modelInProcess(program, node), node, o)
}

// DataModelProgram runs the suite on an executable, in whatever language it is
// written.
func DataModelProgram(t *testing.T, path string, o ModelOptions) {
	t.Helper()
	path, err := exec.LookPath(path)
	if err != nil {
		t.Fatalf("find the data model: %v", err)
	}
	node := newFakeNode()
	modelSuite(t, programStarter(path, node), node, o)
	t.Run("a node that is killed", func(t *testing.T) { orphan(t, path) })
}

func modelSuite(t *testing.T, start starter, node *fakeNode, o ModelOptions) {
	t.Helper()
	if len(o.Writes) == 0 || len(o.Queries) == 0 {
		t.Fatal("ModelOptions needs Writes and Queries")
	}
	s := &modelChecks{start: start, node: node, o: o}
	t.Run("describe", func(t *testing.T) { describe(t, start, pluginv1.Kind_KIND_DATA_MODEL) })
	t.Run("configuration", func(t *testing.T) { configuration(t, start, s.config, o.BadConfigs) })
	for _, check := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"nothing before the configuration", s.unconfigured},
		{"the same cells, the same answers", s.determinism},
		{"calls without effects", s.effects},
		{"conflicts", s.conflicts},
		{"calls at once", s.atOnce},
		{"a trimmed log", s.trimmed},
		{"namespaces apart", s.apart},
		{"bad requests", s.badRequests},
		{"drain", s.drain},
	} {
		t.Run(check.name, check.run)
	}
}

// modelChecks are the parts of a data model's suite.
type modelChecks struct {
	start starter
	node  *fakeNode
	o     ModelOptions

	mu     sync.Mutex
	fresh  int
	writes map[string]bool // the methods that may write
}

func (s *modelChecks) config(*testing.T) map[string]any {
	if s.o.Config == nil {
		return map[string]any{}
	}
	return maps.Clone(s.o.Config)
}

// namespace is the name of a namespace that no part has used.
func (s *modelChecks) namespace() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh++
	return fmt.Sprintf("namespace-%d", s.fresh)
}

// begin starts and configures a model.
func (s *modelChecks) begin(t *testing.T) running {
	t.Helper()
	p := s.start(t)
	if problems := configure(t, p, s.config(t)); len(problems) > 0 {
		t.Fatalf("the configuration that works was rejected: %v", problems)
	}
	d, err := p.plugin.Describe(deadline(t), &pluginv1.DescribeRequest{})
	if err != nil {
		t.Fatalf("Describe: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes = map[string]bool{}
	for _, m := range d.GetMethods() {
		s.writes[m.GetName()] = m.GetWrites()
	}
	return p
}

// call asks once, and commits nothing.
func (s *modelChecks) call(t *testing.T, p running, namespace string, r Request) (*pluginv1.CallResponse, error) {
	t.Helper()
	body, ok := r.Body.([]byte)
	if !ok {
		var err error
		if body, err = json.Marshal(r.Body); err != nil {
			t.Errorf("encode the request: %v", err)
			return nil, err
		}
	}
	s.mu.Lock()
	writes := s.writes[r.Method]
	s.mu.Unlock()
	atLeast := s.node.position(namespace)
	answer, err := p.model.Call(deadline(t), &pluginv1.CallRequest{
		Namespace: namespace, Method: r.Method, Body: body, ContentType: "application/json",
		AtLeast: atLeast, MayWrite: writes,
	})
	if err != nil {
		return nil, err
	}
	checkAnswer(t, r, answer, atLeast, writes)
	return answer, nil
}

// checkAnswer checks what a node relies on.
func checkAnswer(t *testing.T, r Request, a *pluginv1.CallResponse, atLeast *pluginv1.Position, writes bool) {
	t.Helper()
	if !writes && len(a.GetOperations()) > 0 {
		t.Errorf("%s doesn't say that it writes, and answers operations", r.Method)
	}
	if !ok(a) {
		return
	}
	for _, o := range a.GetOperations() {
		if len(o.GetKey()) == 0 {
			t.Errorf("%s answers an operation without a key", r.Method)
		}
	}
	if len(a.GetOperations()) == 0 && a.GetPosition() == nil && !writes {
		t.Errorf("%s answers without the position where it was computed: copy it from the view", r.Method)
	}
	if p := a.GetPosition(); p != nil && len(a.GetOperations()) == 0 {
		if p.GetLineage() != atLeast.GetLineage() || p.GetLsn() < atLeast.GetLsn() {
			t.Errorf("%s was asked to include LSN %d and answers from LSN %d", r.Method, atLeast.GetLsn(), p.GetLsn())
		}
	}
}

func ok(a *pluginv1.CallResponse) bool { return a.GetStatus() < 300 }

// again says whether a node calls again after an error.
func again(err error) bool {
	code := status.Code(err)
	return code == codes.Aborted || code == codes.Unavailable
}

// do is try for a request that has to succeed. It is for goroutines, too: false
// ends them.
func (s *modelChecks) do(t *testing.T, p running, namespace string, r Request) bool {
	t.Helper()
	answer := s.try(t, p, namespace, r)
	if answer != nil && !ok(answer) {
		t.Errorf("%s: status %d: %s", r.Method, answer.GetStatus(), answer.GetBody())
		return false
	}
	return answer != nil
}

// try asks and commits, again where something has changed meanwhile, and answers what
// the model said in the end; nil: that failed.
func (s *modelChecks) try(t *testing.T, p running, namespace string, r Request) *pluginv1.CallResponse {
	t.Helper()
	for range 1000 {
		answer, err := s.call(t, p, namespace, r)
		switch {
		case err != nil && again(err):
			continue
		case err != nil:
			t.Errorf("%s: %v", r.Method, err)
			return nil
		case !ok(answer):
			return answer
		}
		if s.node.commit(namespace, answer.GetOperations(), answer.GetReads()) {
			return answer
		}
	}
	t.Errorf("%s: it conflicted a thousand times", r.Method)
	return nil
}

// must is do for a test's own goroutine.
func (s *modelChecks) must(t *testing.T, p running, namespace string, requests ...Request) {
	t.Helper()
	for _, r := range requests {
		if !s.do(t, p, namespace, r) {
			t.FailNow()
		}
	}
}

// answers are what all queries answer.
func (s *modelChecks) answers(t *testing.T, p running, namespace string) []string {
	t.Helper()
	var answers []string
	for _, q := range s.o.Queries {
		answer, err := s.call(t, p, namespace, q)
		if err != nil {
			t.Fatalf("%s: %v", q.Method, err)
		}
		answers = append(answers, fmt.Sprintf("%s: status %d, %s: %s", q.Method, answer.GetStatus(), answer.GetContentType(), answer.GetBody()))
	}
	return answers
}
