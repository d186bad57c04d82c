package httpapi

import (
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
)

// NewServer returns a server for an API. It has no time limit on a whole
// request, which would cut streams: the API watches each body and answer for progress.
func NewServer(h http.Handler, log hclog.Logger) *http.Server {
	return &http.Server{
		Handler:                      h,
		ReadHeaderTimeout:            10 * time.Second,
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               64 << 10,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug}),
	}
}
