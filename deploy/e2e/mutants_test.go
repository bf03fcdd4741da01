package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// TestEveryMutantStillApplies keeps the faults of mutants/ in step with the code
// that they are put into; whether the tests find them is for make mutants.
func TestEveryMutantStillApplies(t *testing.T) {
	list, err := filepath.Glob("mutants/*.patch")
	if err != nil || len(list) < 20 {
		t.Fatalf("%d mutants: %v", len(list), err)
	}
	for _, p := range list {
		check := exec.Command("git", "apply", "--check", "deploy/e2e/"+p)
		check.Dir = "../.."
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s has to be made anew: %v\n%s", p, err, out)
		}
	}
}
