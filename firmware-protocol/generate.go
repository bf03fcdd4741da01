// Package firmware holds the firmware protocol: SPEC.md is its law,
// biosensor.proto its schema. The code is in the folders below.
//
// To generate biosensorpb again, with protoc 3.21 or later installed:
//
//	go generate ./firmware-protocol
package firmware

//go:generate go build -o ../bin/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
//go:generate protoc --plugin=../bin/protoc-gen-go --go_out=biosensorpb --go_opt=module=wardline/firmware-protocol/biosensorpb biosensor.proto
