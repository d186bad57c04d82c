module example.com/event-driven

go 1.26.0

require github.com/unisondb/unisondb/sdk v0.0.0

replace github.com/unisondb/unisondb/sdk => ../../sdk
