package lead

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestIDsSortByTimeAndNameTheirShard(t *testing.T) {
	now := time.Date(2026, 11, 24, 3, 4, 5, 6e6, time.UTC)
	earlier, later := NewID(now, 7), NewID(now.Add(time.Millisecond), 31)
	if earlier >= later {
		t.Errorf("%s does not sort before %s", earlier, later)
	}
	for id, want := range map[string]int{earlier: 7, later: 31} {
		if got, ok := ShardOf(id); !ok || got != want {
			t.Errorf("ShardOf(%s) = %d, %v; want %d", id, got, ok, want)
		}
	}
	if got := IDTime(earlier); !got.Equal(now) {
		t.Errorf("IDTime = %s, want %s", got, now)
	}
	seen := map[string]bool{}
	for range 10_000 {
		id := NewID(now, -1)
		if seen[id] {
			t.Fatal("an id came twice")
		}
		seen[id] = true
	}
	for _, bad := range []string{"", "lead_", "lead_12345", earlier + "0", strings.ToUpper(earlier), "lead_" + strings.Repeat("z", 23), "../" + earlier[3:]} {
		if _, ok := ShardOf(bad); ok {
			t.Errorf("%q counts as an id", bad)
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, good := range []string{"john@gmail.com", "a.b+c@x-y.example.co", "o'hara@example.ie", "jörg@exämple.de", "x@1.2.example",
		"用户@例子.公司", "x@xn--exmple-cua.de", "x@l·l.cat", "संपर्क@डाटामेल.भारत", strings.Repeat("a", 64) + "@x.com"} {
		if !validEmail(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{"john", "john@", "@x.com", "a b@x.com", "a@b", "a..b@x.com", "a@b..c", "John <a@x.com>", "a@[127.0.0.1]",
		`"a b"@x.com`, "a@x.com, b@x.com", "a@-x.com", "a@x.com\n", strings.Repeat("a", 65) + "@x.com", "a@x_y.com", "a@x.com(comment)",
		"a@x.com.", ".a@x.com", "a.@x.com", "mailto:a@x.com", "a@1.2.3.4", "a@x.123", "a@x\u3002com", "a@😀.com",
		"a@exa\u200bmple.com", "a@x.com\u200b", "a\u200b@x.com", "a\u202e@x.com", "a\u00a0@x.com", "\ufeffa@x.com"} {
		if validEmail(bad) {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestAllProblemsOfARequestAreSaidAtOnce(t *testing.T) {
	_, err := ParseNew([]byte(`{"name":5,"source":"` + strings.Repeat("s", 201) + `","lead_id":"x","note":"ok"}`))
	var invalid Invalid
	if !errors.As(err, &invalid) || len(invalid) != 4 {
		t.Fatalf("got %v, want four problems", err)
	}
	for _, field := range []string{"email: is required", "name: must be a string", "source: is longer", "lead_id: is set by the server"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("%q is not said in %q", field, err)
		}
	}
}

func TestALimitCountsCharactersAndNotBytes(t *testing.T) {
	for _, letter := range []string{"n", "я", "<", "😀", `\n`, `\u2028`} {
		for name, limit := range map[string]int{"note": MaxNote, "custom": MaxCustomValue} {
			body := func(n int) []byte {
				return []byte(`{"email":"a@x.com","` + name + `":"` + strings.Repeat(letter, n) + `"}`)
			}
			if _, err := ParseNew(body(limit)); err != nil {
				t.Errorf("%s: %d × %s: %v", name, limit, letter, err)
			}
			if _, err := ParseNew(body(limit + 1)); err == nil {
				t.Errorf("%s: %d × %s is accepted", name, limit+1, letter)
			}
		}
	}
	list := func(n int) []byte { return []byte(`{"email":"a@x.com","custom":["` + strings.Repeat("я", n) + `"]}`) }
	if _, err := ParseNew(list(MaxCustomValue - len(`[""]`))); err != nil {
		t.Error(err)
	}
	if _, err := ParseNew(list(MaxCustomValue - len(`[""]`) + 1)); err == nil {
		t.Error("a list is longer as JSON than it may be, and accepted")
	}
}

func TestAPatchSetsClearsAndLeavesAlone(t *testing.T) {
	old := Lead{Name: "A", Email: "a@x.com", Note: "n", Custom: map[string]any{"keep": "k", "drop": json.Number("1")}}
	patch, err := ParsePatch([]byte(`{"note":null,"drop":null,"new":[1.50],"absent":null}`))
	if err != nil {
		t.Fatal(err)
	}
	got, differs, err := patch.Apply(old)
	want := Lead{Name: "A", Email: "a@x.com", Custom: map[string]any{"keep": "k", "new": []any{json.Number("1.50")}}}
	if err != nil || !differs || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v, %v; want %+v", got, differs, err, want)
	}
	if _, differs, _ := patch.Apply(got); differs {
		t.Error("the same patch again differs")
	}
	if len(old.Custom) != 2 {
		t.Error("the patch changed the lead it was applied to")
	}
}

func FuzzParsePatch(f *testing.F) {
	for _, seed := range []string{`{"email":"a@x.com","n":1e999,"o":{"p":[null,"é"]}}`, `{}`, `null`, `[]`, `{"email":null}`, `{"a":"\u0000"}`, "{\"a\":\"\xff\"}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		patch, err := ParseNew(body)
		if err != nil {
			var invalid Invalid
			if !errors.Is(err, ErrMalformed) && !errors.As(err, &invalid) {
				t.Fatalf("an error of no known kind: %v", err)
			}
			return
		}
		now := time.Now().UTC().Truncate(time.Millisecond)
		l, _, err := patch.Apply(Lead{ID: "x", Revision: 1, Created: now, Updated: now})
		if err != nil {
			return
		}
		back, err := Decode("x", 1, l.Encode())
		if err != nil || !reflect.DeepEqual(l, back) {
			t.Fatalf("stored %+v, read %+v: %v", l, back, err)
		}
		if again, differs, err := patch.Apply(back); differs || err != nil {
			t.Fatalf("the same patch again differs: %+v %v", again, err)
		}
		l.NumericValues()
	})
}
