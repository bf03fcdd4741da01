package link

// To generate linkpb again, with protoc 3.21 or later installed:
//
//	go generate ./shared/link

//go:generate go build -o ../../bin/protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
//go:generate protoc --plugin=../../bin/protoc-gen-go --go_out=linkpb --go_opt=module=wardline/shared/link/linkpb link.proto
