package frame

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	pb "wardline/firmware-protocol/biosensorpb"
)

var update = flag.Bool("update", false, "write ../vectors anew from cases_test.go")

const vectorsDir = "../vectors"

// entry is one vector in the manifest; vectors/README.md explains it.
type entry struct {
	Name    string          `json:"name"`
	Why     string          `json:"why"`
	Kind    string          `json:"kind"`
	Key     string          `json:"key,omitempty"`
	Wire    string          `json:"wire,omitempty"`
	File    string          `json:"file,omitempty"`
	Repeats string          `json:"repeats,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Section string          `json:"section,omitempty"`
	Path    string          `json:"path,omitempty"`
	Stamp   *stampJSON      `json:"stamp,omitempty"`
	Message json.RawMessage `json:"message,omitempty"`
}

type stampJSON struct {
	ReceivedUS int64 `json:"received_us"`
	Clock      int32 `json:"clock"`
}

// judge opens a vector's wire and writes down what came of it.
func judge(e entry, wire, key []byte) (entry, proto.Message) {
	var m proto.Message
	var s Stamp
	var err error
	if e.Kind == "request" {
		var r *pb.Request
		if r, err = OpenRequest(wire, key); err == nil {
			m = r
		}
	} else {
		var f *pb.Frame
		if f, s, err = Open(wire, key); err == nil {
			m = f
		}
	}
	if refused, ok := errors.AsType[*Error](err); ok {
		e.Reason, e.Section, e.Path = string(refused.Reason), refused.Section, refused.Path
		return e, nil
	}
	if s != (Stamp{}) {
		e.Stamp = &stampJSON{s.ReceivedUS, int32(s.Clock)}
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true, UseEnumNumbers: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, text); err != nil {
		panic(err)
	}
	e.Message = b.Bytes()
	return e, m
}

func TestTheVectorsAreThoseOfTheCases(t *testing.T) {
	var all []entry
	files := map[string][]byte{}
	names := map[string]bool{}
	for _, c := range cases() {
		if names[c.name] {
			t.Errorf("two vectors are called %s", c.name)
		}
		names[c.name] = true
		e := entry{Name: c.name, Why: c.why, Kind: c.kind, Key: hex.EncodeToString(c.key), Repeats: c.repeats}
		if len(c.wire) > 512 {
			e.File = c.name + ".bin"
			files[e.File] = c.wire
		} else {
			e.Wire = hex.EncodeToString(c.wire)
		}
		e, _ = judge(e, c.wire, c.key)
		all = append(all, e)
	}
	if len(all) < 40 {
		t.Errorf("%d vectors, want at least 40", len(all))
	}
	files["manifest.json"] = manifest(t, all)
	for name, want := range files {
		path := filepath.Join(vectorsDir, name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the cases say: look at what changed, then run go test -update", path)
		}
	}
}

// manifest is one line a vector, so that a change shows as one.
func manifest(t *testing.T, all []entry) []byte {
	var b bytes.Buffer
	b.WriteString("[\n")
	for i, e := range all {
		line, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line)
		if i < len(all)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n")
	return b.Bytes()
}

// A reader in another language does what this test does, from the files alone.
func TestEveryVectorIsJudgedAsTheManifestSays(t *testing.T) {
	refused, opened := 0, 0
	for _, want := range readVectors(t) {
		wire, key := want.bytes(t)
		t.Run(want.Name, func(t *testing.T) {
			got, m := judge(entry{Kind: want.Kind}, wire, key)
			if got.Reason != want.Reason || got.Section != want.Section || got.Path != want.Path {
				t.Fatalf("got %s §%s at %q, want %s §%s at %q", got.Reason, got.Section, got.Path, want.Reason, want.Section, want.Path)
			}
			if !bytes.Equal(got.Message, want.Message) {
				t.Errorf("got  %s\nwant %s", got.Message, want.Message)
			}
			if f, ok := m.(*pb.Frame); ok {
				sealsAgain(t, f, wire, key)
			}
		})
		if want.Reason == "" {
			opened++
		} else {
			refused++
		}
		if (want.Reason != "") == hasSuffix(want.Name, "-at-limit") && (hasSuffix(want.Name, "-at-limit") || hasSuffix(want.Name, "-over-limit")) {
			t.Errorf("%s: reason %q", want.Name, want.Reason)
		}
	}
	t.Logf("%d vectors open, %d are refused", opened, refused)
}

func TestEverySectionThatARefusalNamesIsInTheSpecification(t *testing.T) {
	spec, err := os.ReadFile("../SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range readVectors(t) {
		s := []byte(v.Section)
		if v.Section != "" && !bytes.Contains(spec, append([]byte("\n## "), append(s, '.')...)) &&
			!bytes.Contains(spec, append([]byte("\n"), append(s, ' ')...)) && !bytes.Contains(spec, append([]byte("\n| "), append(s, ' ')...)) {
			t.Errorf("%s: SPEC.md has no section %s", v.Name, v.Section)
		}
		if v.Reason != "" && !bytes.Contains(spec, []byte("`"+v.Reason+"`")) {
			t.Errorf("%s: SPEC.md has no reason %s", v.Name, v.Reason)
		}
	}
}

func hasSuffix(s, suffix string) bool {
	return len(s) > len(suffix) && s[len(s)-len(suffix):] == suffix
}

func readVectors(t testing.TB) []entry {
	b, err := os.ReadFile(filepath.Join(vectorsDir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []entry
	if err := json.Unmarshal(b, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func (e entry) bytes(t testing.TB) (wire, key []byte) {
	wire, err := hex.DecodeString(e.Wire)
	if err == nil && e.File != "" {
		wire, err = os.ReadFile(filepath.Join(vectorsDir, e.File))
	}
	if err == nil && e.Key != "" {
		key, err = hex.DecodeString(e.Key)
	}
	if err != nil {
		t.Fatalf("%s: %v", e.Name, err)
	}
	return wire, key
}

// sealsAgain: what opens is sealed to something that opens as the same.
func sealsAgain(t *testing.T, f *pb.Frame, wire, key []byte) {
	t.Helper()
	_, s, _ := Open(wire, key)
	again, err := Seal(nil, f, key, s)
	if r := ReasonOf(err); err != nil {
		if r != string(ErrTooLarge) { // a tag and stamp may have no room left
			t.Fatal(err)
		}
		return
	}
	g, s2, err := Open(again, key)
	if err != nil {
		t.Fatalf("sealed again: %v", err)
	}
	if !proto.Equal(f, g) || s != s2 {
		t.Errorf("sealed again: got %v %v, want %v %v", g, s2, f, s)
	}
}

func FuzzOpen(f *testing.F) {
	for _, e := range readVectors(f) {
		wire, key := e.bytes(f)
		if len(wire) < 2048 {
			f.Add(wire, key != nil)
		}
	}
	f.Fuzz(func(t *testing.T, wire []byte, keyed bool) {
		var key []byte
		if keyed {
			key = key1
		}
		fr, _, err := Open(wire, key)
		if err != nil {
			if ReasonOf(err) == "other" {
				t.Fatalf("an error without a reason: %v", err)
			}
			return
		}
		sealsAgain(t, fr, wire, key)
	})
}
