// Package docs reads the pages of the documentation and runs what they show, so that no
// reader copies what doesn't work. CONTRIBUTING.md has the rules of its blocks.
package docs

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Page is a Markdown file, as far as its blocks go.
type Page struct {
	Path  string
	Lines int // how many
	Items []Item
}

// Item is a *Block, a *Directive or an *Include.
type Item interface{ at() int }

// Block is a fenced block.
type Block struct {
	Line     int // of its fence, from 1
	Language string
	Words    []string // what else the fence says: "validate", "terminal"
	Title    string   // in brackets, as VitePress has it
	Text     string   // with the fence's indentation taken off
	// Behind is the block that this one follows with nothing but blank lines between.
	Behind *Block
}

// Directive is a comment, invisible to readers, that the runner obeys: <!-- run: COMMAND -->.
type Directive struct {
	Line      int
	Name, Arg string
}

// Include is a VitePress include of code (<<< path#region) or of Markdown (<!--@include: path-->).
type Include struct {
	Line     int
	Language string // of code, where it is given
	Path     string // "@/" is the site's folder
	Region   string
}

func (b *Block) at() int     { return b.Line }
func (d *Directive) at() int { return d.Line }
func (i *Include) at() int   { return i.Line }

// Is says whether a block has a language and nothing but the given words beside it.
func (b *Block) Is(language string, words ...string) bool {
	return b.Language == language && slices.Equal(b.Words, words)
}

// Terminal is the name of the terminal of its own that a reader runs the block in; ok says that
// it is such a block.
func (b *Block) Terminal() (name string, ok bool) {
	if b.Language != "sh" || len(b.Words) == 0 || b.Words[0] != "terminal" {
		return "", false
	}
	if len(b.Words) > 1 {
		return b.Words[1], true
	}
	return "terminal", true
}

var (
	fencePattern     = regexp.MustCompile("^( *)(`{3,}|~{3,})[ ]*(.*?)[ ]*$")
	titlePattern     = regexp.MustCompile(`\[([^\]]*)\]`)
	highlightPattern = regexp.MustCompile(`\{[^}]*\}|:(no-)?line-numbers(=\d+)?`)
	directivePattern = regexp.MustCompile(`^\s*<!--\s*([a-z]+):\s*(.*?)\s*-->\s*$`)
	includePattern   = regexp.MustCompile(`<!--\s*@include:\s*([^\s#{]+)(?:#([\w-]+))?.*?-->`)
	codePattern      = regexp.MustCompile(`^\s*<<<\s+([^\s#{\[]+)(?:#([\w-]+))?\s*(?:\{([^}]*)\})?`)
)

// Read reads a page.
func Read(path string) (*Page, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return Parse(path, string(text))
}

// Parse reads a page's text.
func Parse(path, text string) (*Page, error) {
	lines := strings.Split(text, "\n")
	p := &Page{Path: path, Lines: len(lines)}
	var open *Block // the block that the line is in
	var fence, indent string
	var last *Block // the block that only blank lines stand behind
	for i, line := range lines {
		switch m := fencePattern.FindStringSubmatch(line); {
		case open != nil && m != nil && strings.HasPrefix(m[2], fence) && m[3] == "":
			last, open = open, nil
		case open != nil:
			open.Text += strings.TrimPrefix(line, indent) + "\n"
		case m != nil:
			indent, fence = m[1], m[2]
			open = newBlock(i+1, m[3])
			open.Behind, last = last, nil
			p.Items = append(p.Items, open)
		case strings.TrimSpace(line) == "":
		default:
			last = nil
			p.Items = append(p.Items, lineItems(i+1, line)...)
		}
	}
	if open != nil {
		return nil, fmt.Errorf("%s:%d: the block isn't closed: end it with %s", path, open.Line, fence)
	}
	return p, nil
}

func newBlock(line int, info string) *Block {
	b := &Block{Line: line}
	if m := titlePattern.FindStringSubmatch(info); m != nil {
		b.Title = m[1]
		info = titlePattern.ReplaceAllString(info, " ")
	}
	words := strings.Fields(highlightPattern.ReplaceAllString(info, " "))
	if len(words) > 0 {
		b.Language, b.Words = words[0], words[1:]
	}
	return b
}

// lineItems is what a line outside of blocks has for the runner.
func lineItems(at int, line string) []Item {
	if m := directivePattern.FindStringSubmatch(line); m != nil {
		return []Item{&Directive{Line: at, Name: m[1], Arg: m[2]}}
	}
	if m := codePattern.FindStringSubmatch(line); m != nil {
		return []Item{&Include{Line: at, Path: m[1], Region: m[2], Language: m[3]}}
	}
	if m := includePattern.FindStringSubmatch(line); m != nil {
		return []Item{&Include{Line: at, Path: m[1], Region: m[2]}}
	}
	return nil
}

// Blocks are the page's blocks in order.
func (p *Page) Blocks() []*Block {
	var all []*Block
	for _, item := range p.Items {
		if b, ok := item.(*Block); ok {
			all = append(all, b)
		}
	}
	return all
}

// Runs says whether anything of the page is executed.
func (p *Page) Runs() bool {
	return slices.ContainsFunc(p.Items, func(item Item) bool {
		switch it := item.(type) {
		case *Block:
			_, terminal := it.Terminal()
			return terminal || it.Is("sh")
		case *Directive:
			return true
		}
		return false
	})
}
