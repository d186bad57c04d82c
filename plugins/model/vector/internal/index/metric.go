package index

import "fmt"

// Metric says how alike two vectors are.
type Metric uint8

// The numbers are stored: they never change.
const (
	// Cosine is the cosine of the angle between the vectors; more is nearer.
	Cosine Metric = 1
	// Dot is the inner product; more is nearer.
	Dot Metric = 2
	// L2 is the Euclidean distance; less is nearer.
	L2 Metric = 3
)

var metricNames = map[Metric]string{Cosine: "cosine", Dot: "dot", L2: "l2"}

// String is the metric's name in requests.
func (m Metric) String() string {
	if name, ok := metricNames[m]; ok {
		return name
	}
	return fmt.Sprintf("metric %d", uint8(m))
}

// Valid says whether the metric is one that this program knows.
func (m Metric) Valid() bool { _, ok := metricNames[m]; return ok }

// ParseMetric reads a metric's name; ok is false where there is none of that name.
func ParseMetric(name string) (m Metric, ok bool) {
	for m, n := range metricNames {
		if n == name {
			return m, true
		}
	}
	return 0, false
}
