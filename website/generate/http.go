package main

import (
	"strings"

	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/reference"
)

// section is routes that belong together.
type section struct {
	Name   string
	Routes []route
}

type route struct{ httpapi.Route }

func sections() []section {
	var all []section
	for _, r := range reference.Routes() {
		if len(all) == 0 || all[len(all)-1].Name != r.Section {
			all = append(all, section{Name: r.Section})
		}
		last := &all[len(all)-1]
		last.Routes = append(last.Routes, route{r})
	}
	return all
}

// dataPath is what paths of the data API begin with.
const dataPath = "/api/v1/{namespace}"

// Short is the path without what all of the data API have in common.
func (r route) Short() string { return strings.TrimPrefix(r.Path, dataPath) }

// Anchor is the route's: its method and short path.
func (r route) Anchor() string { return identifier(r.Method + " " + r.Short()) }

// BodyIsJSON says that the body is an example.
func (r route) BodyIsJSON() bool { return isJSON(r.Body) }

// AnswerIsJSON says that the answer is an example.
func (r route) AnswerIsJSON() bool { return isJSON(r.Answer) }

func isJSON(s string) bool { return strings.HasPrefix(s, "{") || strings.HasPrefix(s, "[") }
