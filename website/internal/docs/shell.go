package docs

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// commandsOf are the simple commands of a text of the shell, each as its words without quotes, redirections
// and the assignments in front. It knows as much of the shell as documentation needs: quotes, continued lines,
// comments, operators, here-documents and $(…), whose commands are among the answer.
func commandsOf(text string) ([][]string, error) {
	s := &splitter{rest: text}
	if err := s.run(""); err != nil {
		return nil, err
	}
	return s.commands, nil
}

// splitter takes a text from the left.
type splitter struct {
	rest     string
	commands [][]string
	words    []string
	word     strings.Builder
	inWord   bool
	heredocs []string // delimiters of those that begin behind this line
	redirect bool     // the next word is a file's name
}

// run goes to the closing character, or to the end of the text.
func (s *splitter) run(closing string) error {
	for s.rest != "" {
		if closing != "" && strings.HasPrefix(s.rest, closing) {
			s.rest = s.rest[len(closing):]
			s.endCommand()
			return nil
		}
		if err := s.step(); err != nil {
			return err
		}
	}
	if closing != "" {
		return fmt.Errorf("%q is missing", closing)
	}
	s.endCommand()
	return nil
}

// step takes what stands first.
func (s *splitter) step() error {
	switch c := s.rest[0]; {
	case strings.HasPrefix(s.rest, "\\\n"):
		s.rest = s.rest[2:]
	case c == '\\' && len(s.rest) > 1:
		s.add(s.rest[1:2])
		s.rest = s.rest[2:]
	case c == '\'':
		text, rest, ok := strings.Cut(s.rest[1:], "'")
		if !ok {
			return fmt.Errorf("a quote isn't closed: %s", s.rest)
		}
		s.add(text)
		s.rest = rest
	case c == '"':
		s.rest = s.rest[1:]
		return s.quoted()
	case strings.HasPrefix(s.rest, "$("):
		return s.substitution()
	case strings.HasPrefix(s.rest, "${"):
		return s.variable()
	case c == '#' && !s.inWord:
		_, rest, _ := strings.Cut(s.rest, "\n")
		s.rest = "\n" + rest
	case c == '\n':
		s.rest = s.rest[1:]
		s.endCommand()
		s.skipHeredocs()
	case c == ' ' || c == '\t':
		s.rest = s.rest[1:]
		s.endWord()
	case c == '<' || c == '>':
		s.redirection()
	case strings.ContainsRune(";|&()", rune(c)):
		s.rest = s.rest[1:]
		s.endCommand()
	default:
		s.add(s.rest[:1])
		s.rest = s.rest[1:]
	}
	return nil
}

func (s *splitter) add(text string) {
	s.word.WriteString(text)
	s.inWord = true
}

// quoted takes what stands between double quotes.
func (s *splitter) quoted() error {
	s.inWord = true
	for s.rest != "" {
		switch c := s.rest[0]; {
		case c == '"':
			s.rest = s.rest[1:]
			return nil
		case strings.HasPrefix(s.rest, "\\\n"):
			s.rest = s.rest[2:]
		case c == '\\' && len(s.rest) > 1:
			s.add(s.rest[1:2])
			s.rest = s.rest[2:]
		case strings.HasPrefix(s.rest, "$("):
			if err := s.substitution(); err != nil {
				return err
			}
		default:
			s.add(s.rest[:1])
			s.rest = s.rest[1:]
		}
	}
	return fmt.Errorf("a double quote isn't closed")
}

// substitution takes $(…). In the word something stands for what it prints.
func (s *splitter) substitution() error {
	inner := &splitter{rest: s.rest[2:]}
	if err := inner.run(")"); err != nil {
		return err
	}
	s.commands = append(s.commands, inner.commands...)
	s.rest = inner.rest
	s.add("$()")
	return nil
}

// variable takes ${…}.
func (s *splitter) variable() error {
	name, rest, ok := strings.Cut(s.rest, "}")
	if !ok {
		return fmt.Errorf("%q is missing", "}")
	}
	s.add(name + "}")
	s.rest = rest
	return nil
}

// redirection takes the operator of one, with the number in front.
func (s *splitter) redirection() {
	if s.inWord && strings.Trim(s.word.String(), "0123456789") == "" {
		s.word.Reset()
		s.inWord = false
	}
	s.endWord()
	n := len(s.rest) - len(strings.TrimLeft(s.rest, "<>&|-"))
	operator := s.rest[:n]
	s.rest = s.rest[n:]
	if operator == "<<" || operator == "<<-" {
		word := strings.FieldsFunc(s.rest, func(r rune) bool { return strings.ContainsRune(" \t\n;|&)", r) })
		if len(word) > 0 {
			s.heredocs = append(s.heredocs, strings.Trim(word[0], `'"`))
		}
	}
	s.redirect = true
}

func (s *splitter) skipHeredocs() {
	for _, end := range s.heredocs {
		for s.rest != "" {
			var line string
			line, s.rest, _ = strings.Cut(s.rest, "\n")
			if strings.TrimLeft(line, "\t") == end {
				break
			}
		}
	}
	s.heredocs = nil
}

func (s *splitter) endWord() {
	if !s.inWord {
		return
	}
	word := s.word.String()
	s.word.Reset()
	s.inWord = false
	if s.redirect {
		s.redirect = false
		return
	}
	if len(s.words) == 0 && (reserved(word) || assignment(word)) {
		return
	}
	s.words = append(s.words, word)
}

func (s *splitter) endCommand() {
	s.endWord()
	s.redirect = false
	if len(s.words) > 0 {
		s.commands = append(s.commands, s.words)
	}
	s.words = nil
}

func reserved(word string) bool {
	return slices.Contains([]string{"if", "then", "else", "elif", "fi", "while", "until", "do", "done", "!", "{", "}", "time", "exec", "command", "sudo", "env", "nohup"}, word)
}

func assignment(word string) bool {
	name, _, ok := strings.Cut(word, "=")
	return ok && name != "" && strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789") == ""
}

// ours are the arguments of every call of unisondb among commands, wherever its program is.
func ours(commands [][]string) [][]string {
	var calls [][]string
	for _, words := range commands {
		// `sudo -u someone` and its like stand in front of some.
		for len(words) > 1 && strings.HasPrefix(words[0], "-") {
			words = words[1:]
			if path.Base(words[0]) != "unisondb" || len(words) > 1 && path.Base(words[1]) == "unisondb" {
				words = words[1:]
			}
		}
		if len(words) > 0 && path.Base(words[0]) == "unisondb" {
			calls = append(calls, words[1:])
		}
	}
	return calls
}
