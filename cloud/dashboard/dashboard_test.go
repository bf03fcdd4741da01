package dashboard

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

func TestThePageAndEverythingItNamesIsEmbedded(t *testing.T) {
	files := Files()
	index, err := fs.ReadFile(files, "index.html")
	if err != nil {
		t.Fatalf("the page is not built: %v (npm run build)", err)
	}
	named := regexp.MustCompile(`(?:src|href)="/([^"]+)"`).FindAllStringSubmatch(string(index), -1)
	if len(named) < 3 {
		t.Fatalf("index.html names %d files, want its script, its style sheet and its icon", len(named))
	}
	for _, m := range named {
		if b, err := fs.ReadFile(files, m[1]); err != nil || len(b) == 0 {
			t.Errorf("index.html names %s, which is not there: %v", m[1], err)
		}
	}
}

func TestThePageNeedsNothingThatItsContentSecurityPolicyForbids(t *testing.T) {
	index, err := fs.ReadFile(Files(), "index.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?s)<script([^>]*)>(.*?)</script>`).FindAllStringSubmatch(string(index), -1) {
		if !strings.Contains(m[1], "src=") || strings.TrimSpace(m[2]) != "" {
			t.Errorf("index.html has an inline script: %s", m[0])
		}
	}
	for _, forbidden := range []string{"<style", " style=", "http://", "https://", " onclick="} {
		if strings.Contains(string(index), forbidden) {
			t.Errorf("index.html contains %q", forbidden)
		}
	}
}

func TestNamesOfBuiltFilesNeverChange(t *testing.T) {
	stable := regexp.MustCompile(`^(index\.html|assets/app\.(js|css)|assets/icon(-(high|medium|low)-[1-9])?\.svg)$`)
	err := fs.WalkDir(Files(), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !stable.MatchString(name) {
			t.Errorf("%s is not one of the names that the page is built under", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
