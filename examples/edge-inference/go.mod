module example.com/edge-inference

go 1.26.0

require (
	github.com/pebbe/zmq4 v1.4.0
	github.com/unisondb/unisondb/sdk v0.0.0
)

replace github.com/unisondb/unisondb/sdk => ../../sdk
