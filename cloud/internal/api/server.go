package api

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"wardline/cloud/internal/access"
	"wardline/cloud/internal/board"
	"wardline/cloud/internal/feed"
	"wardline/cloud/internal/store"
)

// Version is the version of the API's description.
const Version = "1.0.0"

// Bounds of a request. The live socket has its own.
const (
	maxBody     = 16 << 10         // bytes
	bodyTime    = 5 * time.Second  // for a body to arrive
	requestTime = 20 * time.Second // for an answer
	verifyRows  = 50_000           // of the audit log that one answer looks at, a few µs each
)

// Config joins the API to what it shows and to where acts end.
type Config struct {
	Store  *store.Store
	Access *access.Access
	Board  *board.Board
	Feed   *feed.Log
	Hub    *feed.Hub
	// Revoke ends a gateway's right to connect, and audits who did that and from
	// where in the same transaction. Its error wraps [store.ErrNotFound] for a
	// gateway that is not known.
	Revoke func(ctx context.Context, gateway, by, from, why string) error
	// Status looks how the cloud is.
	Status func(ctx context.Context) (Status, error)
	Page   fs.FS        // the built page; nil serves none
	Now    func() int64 // µs UTC; nil means the system's
	Log    *slog.Logger // nil means the default
}

// Server answers people's requests.
type Server struct {
	c    Config
	api  huma.API
	http http.Handler
	live *live

	verifyRows int64 // tests shorten it
}

// New makes a server. It answers at once; live values flow while [Server.Run] runs.
func New(c Config) *Server {
	if c.Now == nil {
		c.Now = func() int64 { return time.Now().UnixMicro() }
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	s := &Server{c: c, verifyRows: verifyRows}
	s.live = newLive(s)
	mux := http.NewServeMux()
	s.api = humago.New(mux, describe())
	s.sessions()
	s.people()
	s.wards()
	s.alerts()
	s.gateways()
	s.audit()
	s.status()
	s.describeLive()
	mux.HandleFunc("GET /api/v1/live", s.live.serve)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		if allowed := methods(mux, r); len(allowed) > 0 {
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			writeProblem(w, newProblem(http.StatusMethodNotAllowed, reasonMethod, "This address takes "+strings.Join(allowed, " and ")+" only."))
			return
		}
		writeProblem(w, newProblem(http.StatusNotFound, reasonNotFound, "The API has no such address. See /api/v1/openapi.json."))
	})
	mux.Handle("/", newPage(c.Page))
	s.http = s.guard(mux)
	return s
}

// methods are those that the API has for a request's address.
func methods(mux *http.ServeMux, r *http.Request) (allowed []string) {
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := mux.Handler(other); strings.HasPrefix(pattern, m+" ") {
			allowed = append(allowed, m)
		}
	}
	return allowed
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.http.ServeHTTP(w, r) }

// Run gives live sockets the newest values once a second until ctx ends; then it
// ends every socket and waits until they have ended. It always returns nil.
func (s *Server) Run(ctx context.Context) error {
	s.live.run(ctx)
	return nil
}

// OpenAPI is the description of the API, OpenAPI 3.1 in JSON.
func (s *Server) OpenAPI() ([]byte, error) { return s.api.OpenAPI().MarshalJSON() }

func describe() huma.Config {
	c := huma.DefaultConfig("Wardline", Version)
	c.Info.Description = "Alerts and vital signs of a site's wards, and the answers of its clinicians. " +
		"Instants are µs since 1970 UTC. Sign in by POST /api/v1/session: a browser keeps the cookie; another program may " +
		"send the cookie's value as a bearer token, which ends when the session does. Errors are RFC 9457 problems with a " +
		"stable `reason`. Lists are paged by the key of their last item: send `next` as `after`. A write that carries an " +
		"Idempotency-Key has its effect once. GET /api/v1/live is a WebSocket; its messages are the schemas Up, " +
		"Snapshot, Change, Vitals, Gap, Ping and Failure."
	c.OpenAPIPath = "/api/v1/openapi"
	c.DocsPath, c.SchemasPath = "", ""
	c.CreateHooks = nil // no $schema in answers
	c.RejectUnknownQueryParameters = true
	c.Components.Schemas = huma.NewMapRegistry("#/components/schemas/", schemaName)
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"cookie": {Type: "apiKey", In: "cookie", Name: cookieName},
		"bearer": {Type: "http", Scheme: "bearer"},
	}
	return c
}

// policy lets the page load from its own origin only, and be framed by nobody.
const policy = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// guard sets the headers of every answer, refuses what another site's page sent,
// and bounds the time of a request.
func (s *Server) guard(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.c.Log.Warn("a request from another origin was refused", slog.String("origin", r.Header.Get("Origin")), slog.String("path", r.URL.Path))
		writeProblem(w, newProblem(http.StatusForbidden, reasonCrossOrigin, "This request came from another site's page and was refused. Nothing was changed."))
	}))
	limited := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTime)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
	guarded := cross.Handler(limited)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if strings.HasPrefix(r.URL.Path, "/api/") {
			h.Set("Cache-Control", "no-store")
		}
		if r.URL.Path == "/api/v1/live" { // it has no end to wait for, and checks the origin itself
			next.ServeHTTP(w, r)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// healthz says whether the database answers.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	err := s.c.Store.View(r.Context(), func(tx *store.Tx) error {
		_, _, err := tx.FeedHead()
		return err
	})
	if err != nil {
		writeProblem(w, newProblem(http.StatusServiceUnavailable, reasonUnavailable, "The database does not answer."))
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Write([]byte("ok\n"))
}
