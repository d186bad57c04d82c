package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// protoFile is what a .proto file declares, with its comments, which compiled descriptors don't have.
type protoFile struct {
	Path     string
	Package  string
	Doc      string
	Services []protoService
	Messages []protoMessage
}

type protoService struct {
	Name, Doc string
	Methods   []protoMethod
}

type protoMethod struct{ Name, Doc, In, Out string }

// protoMessage is a message or an enumeration.
type protoMessage struct {
	Name, Doc string // Outer.Inner
	Enum      bool
	Fields    []protoField
}

type protoField struct{ Name, Number, Type, Doc string }

// protoPaths are the files, those that clients and followers speak first.
var protoPaths = []string{"db/v1/replication.proto", "db/v1/control.proto", "plugin/v1/plugin.proto"}

func protos(root string) ([]protoFile, error) {
	var all []protoFile
	for _, path := range protoPaths {
		b, err := os.ReadFile(filepath.Join(root, "sdk/proto", path))
		if err != nil {
			return nil, err
		}
		f, err := parseProto(string(b))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		f.Path = "sdk/proto/" + path
		all = append(all, f)
	}
	return all, nil
}

// The statements of the language as far as the repository uses it.
var (
	protoRPC   = regexp.MustCompile(`^rpc (\w+)\((stream )?([\w.]+)\) returns \((stream )?([\w.]+)\)$`)
	protoPlain = regexp.MustCompile(`^((?:repeated |optional )?[\w.]+(?:<[^>]+>)?) (\w+) = (\d+)(?: \[.*\])?$`)
	protoValue = regexp.MustCompile(`^(\w+) = (\d+)(?: \[.*\])?$`)
)

// protoParser reads a file statement by statement.
type protoParser struct {
	file  protoFile
	open  []string // kind and name of the blocks that are open: "message Outer"
	notes []string // lines of comments since the last statement
	doc   []int    // places of open messages in file.Messages
}

func parseProto(source string) (protoFile, error) {
	p := &protoParser{}
	statement := ""
	for line := range strings.Lines(source) {
		line = strings.TrimSpace(line)
		code, note, hasNote := strings.Cut(line, "//")
		code = strings.TrimSpace(code)
		if code == "" && statement == "" {
			if hasNote {
				p.notes = append(p.notes, strings.TrimSpace(note))
			} else if line == "" {
				p.notes = append(p.notes, "") // a paragraph, or the end of a comment that is nobody's
			}
			continue
		}
		statement = strings.TrimSpace(statement + " " + code)
		if !strings.ContainsAny(statement[len(statement)-1:], ";{}") {
			continue
		}
		if err := p.take(statement, strings.TrimSpace(note)); err != nil {
			return p.file, err
		}
		statement = ""
	}
	if len(p.open) > 0 {
		return p.file, fmt.Errorf("%s isn't closed", p.open[len(p.open)-1])
	}
	return p.file, nil
}

// comment is the one that stands directly above the statement.
func (p *protoParser) comment(behind string) string {
	var lines []string
	for i := len(p.notes) - 1; i >= 0 && p.notes[i] != ""; i-- {
		lines = append([]string{p.notes[i]}, lines...)
	}
	if behind != "" {
		lines = append(lines, behind)
	}
	return strings.Join(lines, " ")
}

func (p *protoParser) take(statement, behind string) error {
	doc := p.comment(behind)
	all := strings.TrimSpace(strings.Join(p.notes, " "))
	p.notes = nil
	head, isBlock := strings.CutSuffix(statement, "{")
	switch head = strings.TrimSpace(strings.TrimSuffix(head, ";")); {
	case statement == "}":
		return p.close()
	case strings.HasSuffix(statement, "{}"):
		if err := p.begin(strings.TrimSpace(strings.TrimSuffix(statement, "{}")), doc); err != nil {
			return err
		}
		return p.close()
	case isBlock:
		return p.begin(head, doc)
	case len(p.open) == 0:
		if name, ok := strings.CutPrefix(head, "package "); ok {
			p.file.Package = name
		}
		if strings.HasPrefix(head, "syntax ") {
			p.file.Doc = all
		}
		return nil
	}
	return p.member(head, doc)
}

// begin opens a block.
func (p *protoParser) begin(head, doc string) error {
	kind, name, _ := strings.Cut(head, " ")
	switch kind {
	case "service":
		p.file.Services = append(p.file.Services, protoService{Name: name, Doc: doc})
	case "message", "enum":
		full := name
		if len(p.doc) > 0 {
			full = p.file.Messages[p.doc[len(p.doc)-1]].Name + "." + name
		}
		p.doc = append(p.doc, len(p.file.Messages))
		p.file.Messages = append(p.file.Messages, protoMessage{Name: full, Doc: doc, Enum: kind == "enum"})
	case "oneof":
	default:
		return fmt.Errorf("%q isn't understood", head)
	}
	p.open = append(p.open, kind)
	return nil
}

func (p *protoParser) close() error {
	if len(p.open) == 0 {
		return fmt.Errorf("a brace too much")
	}
	kind := p.open[len(p.open)-1]
	p.open = p.open[:len(p.open)-1]
	if kind == "message" || kind == "enum" {
		p.doc = p.doc[:len(p.doc)-1]
	}
	return nil
}

// member takes a statement inside a block.
func (p *protoParser) member(head, doc string) error {
	if strings.HasPrefix(head, "reserved ") || strings.HasPrefix(head, "option ") {
		return nil
	}
	if m := protoRPC.FindStringSubmatch(head); m != nil {
		s := &p.file.Services[len(p.file.Services)-1]
		s.Methods = append(s.Methods, protoMethod{m[1], doc, m[2] + m[3], m[4] + m[5]})
		return nil
	}
	if len(p.doc) == 0 {
		return fmt.Errorf("%q isn't understood", head)
	}
	message := &p.file.Messages[p.doc[len(p.doc)-1]]
	f := protoField{Doc: doc}
	if m := protoPlain.FindStringSubmatch(head); m != nil && !message.Enum {
		f.Type, f.Name, f.Number = m[1], m[2], m[3]
	} else if m := protoValue.FindStringSubmatch(head); m != nil && message.Enum {
		f.Name, f.Number = m[1], m[2]
	} else {
		return fmt.Errorf("%q isn't understood", head)
	}
	message.Fields = append(message.Fields, f)
	return nil
}
