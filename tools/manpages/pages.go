package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/unisondb/unisondb/command"
)

// book is all commands, for the pages to find what belongs to each.
type book struct {
	docs    []command.CommandDoc
	byName  map[string]command.CommandDoc
	version string
	date    string
}

// pages are all pages by name: one of the program, and one of each command that stands alone and
// of each group, which has the commands right below it.
func pages(docs []command.CommandDoc, version, date string) map[string]string {
	b := &book{docs: docs, byName: map[string]command.CommandDoc{}, version: version, date: date}
	for _, d := range docs {
		b.byName[d.Name] = d
	}
	all := map[string]string{command.Name: b.program()}
	for _, d := range docs {
		switch {
		case isGroup(d):
			all[pageName(d.Name)] = b.group(d)
		case b.home(d) == d.Name:
			all[pageName(d.Name)] = b.single(d)
		}
	}
	return all
}

func isGroup(d command.CommandDoc) bool { return len(d.Children) > 0 }

// home is the command or group whose page has a command: the nearest group above it, or the command
// itself where it stands alone.
func (b *book) home(d command.CommandDoc) string {
	for name := d.Name; ; {
		i := strings.LastIndex(name, " ")
		if i < 0 {
			return d.Name
		}
		if name = name[:i]; isGroup(b.byName[name]) {
			return name
		}
	}
}

// pageName is that of a command or group, as in man: unisondb-operator-raft.
func pageName(name string) string {
	return command.Name + "-" + strings.ReplaceAll(name, " ", "-")
}

// begin writes what every page begins with.
func (b *book) begin(name, synopsis string) *roff {
	r := &roff{}
	r.b.WriteString(".\\\" Made by tools/manpages of what the program says of itself.\n")
	// The date stays as it is: mandoc reads it.
	fmt.Fprintf(&r.b, ".TH \"%s\" \"1\" \"%s\" \"%s\" \"UnisonDB\"\n",
		escape(strings.ToUpper(name)), b.date, escape(strings.TrimSpace("UnisonDB "+b.version)))
	r.macro("SH", "NAME")
	r.line(escape(name) + ` \- ` + escape(lowerFirst(synopsis)))
	return r
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// program is the page of the program itself.
func (b *book) program() string {
	r := b.begin(command.Name, "A log-native database that replicates to the edge")
	r.macro("SH", "SYNOPSIS")
	r.line(`\fB` + command.Name + `\fR \fIcommand\fR [\fIoptions\fR] [\fIarguments\fR]`)
	r.macro("SH", "DESCRIPTION")
	r.text("A hub accepts writes into a durable log per namespace, and relayers follow that log, keep it on their own disk and serve local reads, connected or not. " +
		"The one program runs the nodes and talks to them.\n" +
		"Data goes to standard output, messages to standard error. Options stand before or behind arguments, with one dash or two, as -option=value or -option value; " +
		"what follows -- is an argument, whatever it looks like.")
	r.macro("SH", "COMMANDS")
	for _, d := range b.docs {
		if !strings.Contains(d.Name, " ") {
			r.item(d.Name, d.Synopsis+". See "+pageName(d.Name)+"(1).")
		}
	}
	r.macro("SH", "CONNECTION OPTIONS")
	r.text("Commands that talk to a node take these.")
	writeFlags(r, command.ConnectionFlags())
	writeEnvironment(r)
	writeStatuses(r)
	r.macro("SH", "SIGNALS")
	r.text("A node stops at SIGINT or SIGTERM when the requests under way have ended, and at once at the second. At SIGHUP it reads its configuration again.")
	r.macro("SH", "SEE ALSO")
	var names []string
	for _, d := range b.docs {
		if isGroup(d) || b.home(d) == d.Name {
			names = append(names, d.Name)
		}
	}
	writeSeeAlso(r, names)
	return r.String()
}

// single is the page of a command that stands alone.
func (b *book) single(d command.CommandDoc) string {
	r := b.begin(pageName(d.Name), d.Synopsis)
	r.macro("SH", "SYNOPSIS")
	writeUsage(r, d.Usage)
	r.macro("SH", "DESCRIPTION")
	r.text(d.About)
	if len(d.Flags) > 0 {
		r.macro("SH", "OPTIONS")
		writeFlags(r, d.Flags)
	}
	if len(d.Examples) > 0 {
		r.macro("SH", "EXAMPLES")
		r.code(d.Examples...)
	}
	b.end(r, []command.CommandDoc{d}, nil)
	return r.String()
}

// group is the page of a group, with each command that has its home there.
func (b *book) group(g command.CommandDoc) string {
	r := b.begin(pageName(g.Name), g.Synopsis)
	var here []command.CommandDoc
	var elsewhere []string
	for _, d := range b.docs {
		switch {
		case !isGroup(d) && d.Name != g.Name && b.home(d) == g.Name:
			here = append(here, d)
		case isGroup(d) && d.Name != g.Name && b.home(d) == g.Name:
			elsewhere = append(elsewhere, d.Name)
		}
	}
	r.macro("SH", "SYNOPSIS")
	for i, d := range here {
		if i > 0 {
			r.macro("br")
		}
		writeUsage(r, d.Usage)
	}
	if len(here) == 0 {
		writeUsage(r, g.Usage)
	}
	r.macro("SH", "DESCRIPTION")
	r.text(g.About)
	if len(here) > 0 {
		r.macro("SH", "COMMANDS")
	}
	for _, d := range here {
		r.macro("SS", d.Name)
		r.text(d.Synopsis + ".")
		r.macro("PP")
		r.text(d.About)
		writeFlags(r, d.Flags)
		r.code(d.Examples...)
	}
	b.end(r, here, elsewhere)
	return r.String()
}

// end writes what the page of commands ends with.
func (b *book) end(r *roff, commands []command.CommandDoc, others []string) {
	client := false
	for _, d := range commands {
		client = client || d.Client
	}
	if client {
		r.macro("SH", "CONNECTION OPTIONS")
		r.text("Which node is asked: " + command.Name + "(1) has what these options mean, and the environment that is used without them.")
		var names []string
		for _, f := range command.ConnectionFlags() {
			names = append(names, flagTerm(f))
		}
		r.macro("PP")
		r.line(`\fB` + escape(strings.Join(names, ", ")) + `\fR`)
	}
	r.macro("SH", "SEE ALSO")
	writeSeeAlso(r, others, command.Name)
}

func writeUsage(r *roff, usage string) {
	fixed, rest, _ := strings.Cut(usage, " [options]")
	if _, ok := strings.CutSuffix(usage, "<command> [options] [arguments]"); ok || fixed == usage {
		r.line(`\fB` + escape(usage) + `\fR`)
		return
	}
	r.line(strings.TrimRight(`\fB`+escape(fixed)+`\fR [\fIoptions\fR] `+escape(strings.TrimSpace(rest)), " "))
}

func flagTerm(f command.FlagDoc) string {
	if f.Value == "" {
		return "-" + f.Name
	}
	return "-" + f.Name + "=" + f.Value
}

func writeFlags(r *roff, flags []command.FlagDoc) {
	for _, f := range flags {
		r.item(flagTerm(f), f.Help)
	}
}

func writeEnvironment(r *roff) {
	r.macro("SH", "ENVIRONMENT")
	for _, e := range command.Environment() {
		r.item(e.Name, e.What+" The option -"+e.Flag+" comes first.")
	}
	r.item("NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID", "Where a node tells a service manager such as systemd how it does, as sd_notify(3) says.")
}

func writeStatuses(r *roff) {
	r.macro("SH", "EXIT STATUS")
	for _, s := range command.ExitStatuses() {
		r.item(strconv.Itoa(s.Status), s.Meaning)
	}
}

// writeSeeAlso lists pages of commands and groups, and others by their own names.
func writeSeeAlso(r *roff, commands []string, pages ...string) {
	for _, name := range commands {
		pages = append(pages, pageName(name))
	}
	for i, page := range pages {
		after := ","
		if i == len(pages)-1 {
			after = ""
		}
		r.macro("BR", page, "(1)"+after)
	}
}
