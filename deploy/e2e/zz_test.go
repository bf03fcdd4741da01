package e2e
import ("path/filepath";"crypto/aes";"crypto/cipher";"encoding/binary";"encoding/json";"wardline/shared/alert")
func (w *world) zz(g *gatewayNode) {
	db := w.look(filepath.Join(g.data, "outbox.db")); defer db.Close()
	block,_ := aes.NewCipher(simKey); gcm,_ := cipher.NewGCM(block)
	rows, err := db.Query(`SELECT seq, kind, sealed_with, payload FROM record WHERE lane=1 ORDER BY seq`)
	if err != nil { w.t.Fatal(err) }
	for rows.Next() { var seq uint64; var kind, with int; var p []byte; rows.Scan(&seq,&kind,&with,&p)
		name := binary.BigEndian.AppendUint64([]byte{'r', 1}, seq)
		clear, err := gcm.Open(nil, p[:12], p[12:], name)
		var e alert.Event
		json.Unmarshal(clear,&e)
		rule := ""; if e.Condition!=nil { rule=e.Condition.Rule+" "+e.Condition.Sensor }
		w.note("held: seq %d kind %d %.6s %d %s at %d s %s %s %v", seq, kind, e.Alert, e.N, e.Type, w.since(e.At), rule, e.Text, err)
	}
}
