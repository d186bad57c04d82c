module example.com/hybrid

go 1.26.0

require example.com/zeromq-feed v0.0.0

require github.com/pebbe/zmq4 v1.4.0 // indirect

replace example.com/zeromq-feed => ../zeromq-feed
