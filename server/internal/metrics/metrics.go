// Package metrics is everything that a node exports to Prometheus: one list of
// names and help texts, in a registry of the node's own.
package metrics

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Emit reports the value of a metric of the list, with its labels in the list's order.
type Emit func(name string, value float64, labels ...string)

// Metrics is one node's registry. Its methods may be called concurrently.
type Metrics struct {
	registry *prometheus.Registry
	events   *prometheus.CounterVec
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// New makes a registry. At every scrape collect is asked for what is kept
// elsewhere, so that nothing on the paths of data counts for the sake of metrics.
func New(collect func(Emit)) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		events:   prometheus.NewCounterVec(prometheus.CounterOpts(options("unisondb_events_total")), labels("unisondb_events_total")),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts(options("unisondb_http_requests_total")), labels("unisondb_http_requests_total")),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "unisondb_http_request_seconds",
			Help:    byName["unisondb_http_request_seconds"].help,
			Buckets: prometheus.ExponentialBuckets(0.0001, 4, 10), // 100 µs to 26 s
		}, labels("unisondb_http_request_seconds")),
	}
	m.registry.MustRegister(m.events, m.requests, m.seconds, newCollector(collect))
	prometheus.WrapRegistererWithPrefix("unisondb_", m.registry).MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
}

// Event counts something that an operator should look at.
func (m *Metrics) Event(kind string) { m.events.WithLabelValues(kind).Inc() }

// Request counts a finished HTTP request.
func (m *Metrics) Request(route, method string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, method, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

var byName = func() map[string]metric {
	m := make(map[string]metric, len(list))
	for _, x := range list {
		m[x.name] = x
	}
	return m
}()

func options(name string) prometheus.Opts {
	return prometheus.Opts{Name: name, Help: byName[name].help}
}

func labels(name string) []string { return byName[name].labels }

// own are the metrics that this package counts itself.
var own = map[string]bool{
	"unisondb_events_total": true, "unisondb_http_requests_total": true, "unisondb_http_request_seconds": true,
}

// collector asks for values at every scrape.
type collector struct {
	collect func(Emit)
	descs   map[string]*prometheus.Desc
}

func newCollector(collect func(Emit)) *collector {
	c := &collector{collect, map[string]*prometheus.Desc{}}
	for _, m := range list {
		if !own[m.name] {
			c.descs[m.name] = prometheus.NewDesc(m.name, m.help, m.labels, nil)
		}
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	c.collect(func(name string, value float64, labels ...string) {
		d := c.descs[name]
		if d == nil {
			panic(fmt.Sprintf("metric %s isn't in the list", name))
		}
		t := prometheus.GaugeValue
		if byName[name].kind == counter {
			t = prometheus.CounterValue
		}
		ch <- prometheus.MustNewConstMetric(d, t, value, labels...)
	})
}
