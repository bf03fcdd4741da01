// Package dashboard is the clinicians' page, built and embedded.
//
// Its source is TypeScript and Svelte in src/; what `npm run build` makes of it
// is committed in dist/, so that building the cloud needs only Go. The package
// hands out files and does nothing else: the cloud's API serves them.
package dashboard

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files is the built page: index.html and its assets, which are named relative
// to the root. Every name is stable from one build to the next, so whoever serves
// them lets browsers revalidate and never keep.
func Files() fs.FS {
	f, err := fs.Sub(dist, "dist")
	if err != nil {
		panic("dashboard: dist is not a folder: " + err.Error())
	}
	return f
}
