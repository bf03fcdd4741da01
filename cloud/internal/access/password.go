package access

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"

	"golang.org/x/crypto/argon2"
)

// Cost is the work of one argon2id hash.
type Cost struct {
	MemoryKiB uint32
	Passes    uint32
	Lanes     uint8
}

// Recommended is the second recommended choice of RFC 9106 §4, for machines
// that cannot spare 2 GiB for a sign-in: 64 MiB, 3 passes, 4 lanes.
var Recommended = Cost{MemoryKiB: 64 << 10, Passes: 3, Lanes: 4}

// Lengths of RFC 9106 §4 (salt 128 bits, tag 256 bits).
const (
	saltLen = 16
	tagLen  = 32
)

// How long a password is: at least so many characters and at most so many bytes.
// The least is between the 8 that NIST SP 800-63B-4 asks of a password beside a
// second factor and its 15 for one that stands alone.
const (
	MinPassword = 12
	MaxPassword = 256
)

// hashPassword gives the PHC string of a password with a new salt.
func hashPassword(password string, c Cost) string {
	salt := make([]byte, saltLen)
	rand.Read(salt)
	tag := argon2.IDKey([]byte(password), salt, c.Passes, c.MemoryKiB, c.Lanes, tagLen)
	return phc(c, salt, tag)
}

// decoyHash is the PHC string of no password: telling so takes the same work as of
// any other, and making it takes none.
func decoyHash(c Cost) string {
	salt, tag := make([]byte, saltLen), make([]byte, tagLen)
	rand.Read(salt)
	rand.Read(tag)
	return phc(c, salt, tag)
}

func phc(c Cost, salt, tag []byte) string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.MemoryKiB, c.Passes, c.Lanes,
		b.EncodeToString(salt), b.EncodeToString(tag))
}

// verifyPassword reports whether password is the one of a PHC string.
func verifyPassword(phc, password string) (bool, error) {
	c, salt, want, err := parsePHC(phc)
	if err != nil {
		return false, err
	}
	got := argon2.IDKey([]byte(password), salt, c.Passes, c.MemoryKiB, c.Lanes, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1, nil
}

func parsePHC(phc string) (c Cost, salt, tag []byte, err error) {
	var version int
	var rest string
	n, _ := fmt.Sscanf(phc, "$argon2id$v=%d$m=%d,t=%d,p=%d$%s", &version, &c.MemoryKiB, &c.Passes, &c.Lanes, &rest)
	if n != 5 || version != argon2.Version || c.Passes == 0 || c.Lanes == 0 || c.MemoryKiB > 1<<20 {
		return c, nil, nil, fmt.Errorf("a password's hash is not argon2id as this version writes it")
	}
	var parts [2]string
	for i := range rest {
		if rest[i] == '$' {
			parts = [2]string{rest[:i], rest[i+1:]}
		}
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[0]); err == nil {
		tag, err = base64.RawStdEncoding.DecodeString(parts[1])
	}
	if err != nil || len(tag) != tagLen {
		return c, nil, nil, fmt.Errorf("a password's hash is damaged")
	}
	return c, salt, tag, nil
}

// withSlot runs f when fewer than hashesAtOnce others run, so that sign-ins
// cannot use up memory. It refuses with [Busy] when too many wait.
func (a *Access) withSlot(ctx context.Context, f func()) error {
	if a.queued.Add(1) > hashesQueued {
		a.queued.Add(-1)
		return &Refusal{Reason: Busy, Text: "Too many people are signing in at this moment. Try again in a few seconds.", Until: a.now() + 5_000_000}
	}
	defer a.queued.Add(-1)
	select {
	case a.slots <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait to check a password: %w", context.Cause(ctx))
	}
	defer func() { <-a.slots }()
	f()
	return nil
}

// newToken is 256 random bits in letters.
func newToken() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}
