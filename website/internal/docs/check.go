package docs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/unisondb/unisondb/command"
	"github.com/unisondb/unisondb/server/config"
)

// Checker holds what pages show, and isn't run, against the repository.
type Checker struct {
	root    string
	sources map[string][]source // by the language of blocks
}

// source is a file of the repository that pages may quote.
type source struct{ path, text string }

// quotable says which files a block of a language may be part of: those that something compiles or reads.
var quotable = map[string]func(name, text string) bool{
	"go":     func(name, _ string) bool { return filepath.Ext(name) == ".go" },
	"python": func(name, text string) bool { return filepath.Ext(name) == ".py" || interpreted(text, "python") },
	"ini": func(name, _ string) bool {
		return slices.Contains([]string{".service", ".ini", ".conf"}, filepath.Ext(name))
	},
	"dockerfile": func(name, _ string) bool { return strings.HasPrefix(name, "Dockerfile") },
	"yaml":       func(name, _ string) bool { return filepath.Ext(name) == ".yaml" || filepath.Ext(name) == ".yml" },
}

func interpreted(text, by string) bool {
	first, _, _ := strings.Cut(text, "\n")
	return strings.HasPrefix(first, "#!") && strings.Contains(first, by)
}

// NewChecker reads what pages of the repository may quote.
func NewChecker(root string) (*Checker, error) {
	c := &Checker{root: root, sources: map[string][]source{}}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || name == "node_modules" || name == "bin" || name == "dist") {
				return fs.SkipDir
			}
			return nil
		}
		return c.add(path, d)
	})
	return c, err
}

// largestQuoted is far above what anybody quotes from.
const largestQuoted = 1 << 20

func (c *Checker) add(path string, d fs.DirEntry) error {
	if info, err := d.Info(); err != nil || !d.Type().IsRegular() || info.Size() > largestQuoted {
		return ignoreGone(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return ignoreGone(err)
	}
	for language, takes := range quotable {
		if takes(d.Name(), string(text)) {
			c.sources[language] = append(c.sources[language], source{path, string(text)})
		}
	}
	return nil
}

// ignoreGone leaves out files that went away meanwhile: builds and tests run beside us.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Check is what is wrong with a page, each error with its place.
func (c *Checker) Check(p *Page) []error {
	var problems []error
	report := func(line int, err error) {
		var placed placedError
		switch {
		case errors.As(err, &placed):
			problems = append(problems, placed)
		case err != nil:
			problems = append(problems, fmt.Errorf("%s:%d: %w", p.Path, line, err))
		}
	}
	for _, item := range p.Items {
		switch it := item.(type) {
		case *Block:
			report(it.Line, c.block(p, it))
		case *Include:
			report(it.Line, c.include(p, it))
		case *Directive:
			report(it.Line, validDirective(it))
		}
	}
	return problems
}

// placedError says itself where on the page it is.
type placedError string

func (e placedError) Error() string { return string(e) }

// rules says what a block may be, to whoever wrote another one.
const rules = "write sh, sh validate, sh terminal NAME, text, hcl, http, json, or a quotation in go, python, ini, dockerfile or yaml"

func (c *Checker) block(p *Page, b *Block) error {
	if _, terminal := b.Terminal(); terminal && len(b.Words) <= 2 {
		return validShell(b.Text)
	}
	switch _, quoted := quotable[b.Language]; {
	case b.Is("sh"):
		return validShell(b.Text)
	case b.Is("sh", "validate"):
		return errors.Join(validShell(b.Text), validCommands(b.Text))
	case b.Is("text"), b.Is("http"):
		return nil
	case b.Is("json"):
		return validJSON(b.Text)
	case b.Is("hcl"):
		return validConfig(p.Path, b)
	case quoted && len(b.Words) == 0:
		return c.quotation(b)
	case b.Language == "":
		return errors.New("the block has no language: " + rules)
	}
	return fmt.Errorf("no test looks at a block of %q: %s", strings.Join(append([]string{b.Language}, b.Words...), " "), rules)
}

// validDirective: a comment that looks as if it were for the runner is.
func validDirective(d *Directive) error {
	switch d.Name {
	case "run", "until", "do":
		return validShell(d.Arg)
	case "interrupt", "kill":
		return nil
	}
	return fmt.Errorf("the runner has no %q: write run, until, do, interrupt or kill, or no colon behind the first word of a comment", d.Name)
}

func validShell(text string) error {
	if out, err := checkShell(text); err != nil {
		return fmt.Errorf("this is no shell: %s", out)
	}
	return nil
}

// validCommands checks every call of unisondb against the program.
func validCommands(text string) error {
	commands, err := commandsOf(text)
	if err != nil {
		return err
	}
	var problems []error
	for _, args := range ours(commands) {
		if err := command.Check(args); err != nil {
			problems = append(problems, fmt.Errorf("unisondb %s: %w", strings.Join(args, " "), err))
		}
	}
	return errors.Join(problems...)
}

func validJSON(text string) error {
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		return fmt.Errorf("this is no JSON: %w", err)
	}
	return nil
}

// environment has what the pages' configurations take from it.
var environment = map[string]string{"HOOK_SECRET": "a secret", "MQTT_PASSWORD": "a secret", "DATA": "/tmp/data"}

// validConfig loads a whole configuration. It is written to a file with as many lines in front as it has on
// the page, so that mistakes are told with the page's lines.
func validConfig(page string, b *Block) error {
	dir, err := os.MkdirTemp("", "unisondb-docs-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "page.hcl")
	if err := os.WriteFile(path, []byte(strings.Repeat("\n", b.Line)+b.Text), 0o600); err != nil {
		return err
	}
	_, err = config.Load([]string{path}, config.LoadOptions{Dev: true, Env: func(name string) (string, bool) {
		value, ok := environment[name]
		return value, ok
	}})
	if err != nil {
		return placedError(strings.ReplaceAll(err.Error(), path, page))
	}
	return nil
}

// quotation says whether a block is, to the letter, part of a file that isn't a page.
func (c *Checker) quotation(b *Block) error {
	if slices.ContainsFunc(c.sources[b.Language], func(s source) bool { return strings.Contains(s.text, b.Text) }) {
		return nil
	}
	return fmt.Errorf("the block stands in no file of the repository: quote one that is compiled and tested, or include it by <<<")
}

// include says whether a file and its region are there.
func (c *Checker) include(p *Page, i *Include) error {
	path := filepath.Join(filepath.Dir(p.Path), i.Path)
	if behind, ok := strings.CutPrefix(i.Path, "@/"); ok {
		path = filepath.Join(c.root, "website", behind)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("include of %s: %w", i.Path, err)
	}
	if i.Region == "" || filepath.Ext(path) == ".md" {
		return nil
	}
	if !hasRegion(string(text), i.Region) {
		return fmt.Errorf("%s has no whole region %s: mark it by comments on lines of their own, // #region %[2]s and // #endregion %[2]s, or # region %[2]s and # endregion %[2]s", i.Path, i.Region)
	}
	return nil
}

// regionMarks are the comments that VitePress takes for the marks of a region. Where it finds none it shows
// the whole file.
var regionMarks = []*regexp.Regexp{
	regexp.MustCompile(`^// ?#?((?:end)?region) ([\w*-]+)$`),
	regexp.MustCompile(`^/\* ?#((?:end)?region) ([\w*-]+) ?\*/$`),
	regexp.MustCompile(`^<!-- #?((?:end)?region) ([\w*-]+) -->$`),
	regexp.MustCompile(`^# ?((?:end)?region) ([\w*-]+)$`),
}

// hasRegion says whether a text has a region, from its beginning to its end.
func hasRegion(text, name string) bool {
	var begun *regexp.Regexp
	for line := range strings.Lines(text) {
		for _, mark := range regionMarks {
			m := mark.FindStringSubmatch(strings.TrimSpace(line))
			switch {
			case len(m) < 3 || m[2] != name:
			case begun == nil && m[1] == "region":
				begun = mark
			case begun == mark && m[1] == "endregion":
				return true
			}
		}
	}
	return false
}
