package api

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// contentTypes are those of the files that the page is made of: what the machine
// that this runs on believes of an extension does not count.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
	".json": "application/json", ".webmanifest": "application/manifest+json", ".svg": "image/svg+xml", ".png": "image/png",
	".ico": "image/x-icon", ".woff2": "font/woff2", ".txt": "text/plain; charset=utf-8", ".map": "application/json",
}

const indexFile = "index.html"

// page serves the built page from memory. Names are the same from one build to
// the next, so a browser asks each time and is told when nothing changed.
type page struct {
	files map[string]pageFile
}

type pageFile struct {
	content []byte
	packed  []byte // gzip; nil when that is hardly smaller
	kind    string
	etag    string // of the content; that of packed ends in -gz
}

// newPage reads every file; one that cannot be read is not there.
func newPage(files fs.FS) *page {
	p := &page{files: map[string]pageFile{}}
	if files == nil {
		return p
	}
	fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		content, err := fs.ReadFile(files, name)
		kind := contentTypes[path.Ext(name)]
		if err != nil || kind == "" {
			return nil
		}
		sum := sha256.Sum256(content)
		p.files[name] = pageFile{content, pack(content), kind, hex.EncodeToString(sum[:12])}
		return nil
	})
	return p
}

// pack compresses once what is sent often; a page on a bad line opens sooner.
func pack(content []byte) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		panic("api: " + err.Error()) // the level is a constant
	}
	z.Write(content)
	z.Close()
	if b.Len() > len(content)*9/10 {
		return nil
	}
	return b.Bytes()
}

// ServeHTTP answers with a file, or with the page itself for an address that the
// page makes its own (such as /ward/7w/bed/12).
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeProblem(w, newProblem(http.StatusMethodNotAllowed, reasonInvalid, "This address can only be read."))
		return
	}
	name := strings.TrimPrefix(path.Clean(r.URL.Path), "/")
	f, ok := p.files[name]
	if !ok && path.Ext(name) == "" {
		f, ok = p.files[indexFile]
	}
	if !ok {
		writeProblem(w, newProblem(http.StatusNotFound, reasonNotFound, "There is no such page."))
		return
	}
	w.Header().Set("Content-Type", f.kind)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Vary", "Accept-Encoding")
	if f.packed != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		f.content, f.etag = f.packed, f.etag+"-gz"
	}
	w.Header().Set("ETag", `"`+f.etag+`"`)
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(f.content))
}
