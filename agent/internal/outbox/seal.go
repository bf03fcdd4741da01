package outbox

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// KeySize is the length of a key: AES-256.
const KeySize = 32

// ErrKey means that what lies here was sealed with another key than the one at
// hand. Nothing is damaged: with its key it can be read.
var ErrKey = errors.New("the outbox was sealed with another key")

// errUnsealed means that a row is not what was sealed: the medium changed it.
var errUnsealed = errors.New("a sealed row was changed")

// seal closes payloads with AES-256-GCM under random nonces; a row's identity is
// the additional data, so that no row can stand in another's place. The zero
// value leaves them in clear.
type seal struct {
	aead cipher.AEAD
	with int64 // the key's number, never 0
}

// sealOverhead is what sealing adds to a payload: nonce and tag.
const sealOverhead = 12 + 16

func newSeal(key []byte) (seal, error) {
	if key == nil {
		return seal{}, nil
	}
	if len(key) != KeySize {
		return seal{}, fmt.Errorf("a key of %d bytes, want %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return seal{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return seal{}, err
	}
	sum := sha256.Sum256(append([]byte("wardline outbox key "), key...))
	return seal{aead, int64(binary.BigEndian.Uint32(sum[:])>>1) + 1}, nil
}

// row is the identity of a row: its table, and its key there.
type row struct {
	table byte
	lane  byte
	n     uint64
	id    string
}

func batchRow(n Position) row              { return row{table: 'b', n: uint64(n)} }
func recordRow(lane int64, seq uint64) row { return row{table: 'r', lane: byte(lane), n: seq} }
func checkpointRow(n Position) row         { return row{table: 'c', n: uint64(n)} }
func episodeRow(id string) row             { return row{table: 'e', id: id} }

func (r row) name() []byte {
	b := append(make([]byte, 0, 16+len(r.id)), r.table, r.lane)
	return append(binary.BigEndian.AppendUint64(b, r.n), r.id...)
}

// close appends the sealed payload to dst.
func (s seal) close(dst []byte, r row, payload []byte) []byte {
	if s.aead == nil {
		return append(dst, payload...)
	}
	return s.aead.Seal(dst, nil, payload, r.name())
}

// open is the payload of a row that was sealed with the key of that number.
func (s seal) open(r row, with int64, sealed []byte) ([]byte, error) {
	switch {
	case with == 0:
		return sealed, nil
	case with != s.with:
		return nil, ErrKey
	}
	payload, err := s.aead.Open(sealed[:0], nil, sealed, r.name())
	if err != nil {
		return nil, errUnsealed
	}
	return payload, nil
}
