package main

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/unisondb/unisondb/server/httpapi"
	"github.com/unisondb/unisondb/server/reference"
)

// codeClass is the codes that come with one status first.
type codeClass struct {
	Status int
	Words  string
	Codes  []errorCode
}

type errorCode struct{ httpapi.ErrorCode }

// Also is the statuses behind the first one, as text.
func (c errorCode) Also() string {
	s := ""
	for _, status := range c.Statuses[1:] {
		s += ", also " + strconv.Itoa(status)
	}
	return s
}

func codeClasses() []codeClass {
	byStatus := map[int][]errorCode{}
	var statuses []int
	for _, c := range reference.Codes() {
		status := c.Statuses[0]
		if byStatus[status] == nil {
			statuses = append(statuses, status)
		}
		byStatus[status] = append(byStatus[status], errorCode{c})
	}
	slices.Sort(statuses)
	var all []codeClass
	for _, status := range statuses {
		all = append(all, codeClass{status, http.StatusText(status), byStatus[status]})
	}
	return all
}
