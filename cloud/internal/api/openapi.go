package api

import (
	"net/http"
	"reflect"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// describeLive puts the live socket and its messages into the description, which
// huma does not make from a handler.
func (s *Server) describeLive() {
	doc := s.api.OpenAPI()
	for _, m := range []any{Up{}, Snapshot{}, Change{}, Vitals{}, Gap{}, Ping{}, Failure{}} {
		doc.Components.Schemas.Schema(reflect.TypeOf(m), true, "")
	}
	doc.AddOperation(&huma.Operation{
		OperationID: "live", Method: http.MethodGet, Path: "/api/v1/live", Summary: "The live socket",
		Description: "A WebSocket of JSON text messages. The screen sends Up (hello first, within 10 s); it gets Snapshot " +
			"after an empty cursor, and then each Change after its cursor, Vitals once a second a ward, and Ping every 5 s. " +
			"Gap means that the cursor is too old: send hello with an empty one. Waveforms that were asked for by wave come " +
			"as binary messages, little-endian: u8 version 1, u8 length of ward, u8 length of bed, u8 0, u32 lead (MDC), " +
			"i64 first sample's instant, u32 numerator and u32 denominator of the µs between samples, u32 nV a count, u32 n, " +
			"ward, bed, zeros up to a multiple of 4, n × i16. It closes with 4401 when the session has ended and 4403 when a " +
			"ward is not the person's, after a Failure that says so.",
		Security: []map[string][]string{{"cookie": {}}, {"bearer": {}}},
		Responses: map[string]*huma.Response{
			"101": {Description: "The socket is open"},
			"401": {Description: "Nobody is signed in, as a Problem"},
			"403": {Description: "The role does not allow it, or another origin's page asked, as a Problem"},
		},
	})
}

// schemaName keeps the names of the two tiers' event apart from the API's own.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if strings.HasSuffix(t.PkgPath(), "/shared/alert") {
		return "Event" + strings.TrimPrefix(name, "Event")
	}
	return name
}

// TransformSchema says which parts of an alert may be null.
func (Alert) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "ack", "responsibility", "resolution")
}

// TransformSchema says that live values may be null.
func (SnapshotBed) TransformSchema(_ huma.Registry, s *huma.Schema) *huma.Schema {
	return nullable(s, "live")
}

func nullable(s *huma.Schema, names ...string) *huma.Schema {
	for _, name := range names {
		if p := s.Properties[name]; p != nil {
			s.Properties[name] = &huma.Schema{AnyOf: []*huma.Schema{p, {Type: "null"}}}
		}
	}
	return s
}
