package placement

import (
	"errors"
	"strings"
	"testing"
)

var pools = []Pool{
	{Name: "rust", FreeBytes: 900 << 30, SizeBytes: 2 << 40, Healthy: true, Kind: Rust},
	{Name: "fast", FreeBytes: 400 << 30, SizeBytes: 1 << 40, Healthy: true, Encrypted: true, Kind: Flash},
	{Name: "worn", FreeBytes: 4 << 40, SizeBytes: 8 << 40, Kind: Mixed},
	{Name: "tiny", FreeBytes: 10 << 30, SizeBytes: 20 << 30, Healthy: true, Kind: Flash},
}

func TestChoose(t *testing.T) {
	for _, tt := range []struct{ name, rule, holder, want string }{
		{"the default takes the healthy pool with most free space", "", "", "rust"},
		{"a kind", `healthy && kind == "flash"`, "", "fast"},
		{"encryption", "encrypted", "", "fast"},
		{"the rule alone decides about health", "true", "", "worn"},
		{"a name", `name.startsWith("ti")`, "", "tiny"},
		{"a share of the size", "double(free) / double(size) < 0.41", "", "fast"},
		{"units", "free < TiB && free > 500 * GiB", "", "rust"},
		{"a pool that holds the image and has nearly as much space", "healthy && free < 950 * GiB", "rust", "rust"},
		{"a pool that holds the image and has less than half the space", `name == "fast" || name == "rust" && free == 900 * GiB`, "fast", "rust"},
		{"a pool that holds the image and is not suitable", "healthy", "worn", "rust"},
		{"of two that hold nothing", `kind == "flash"`, "rust", "fast"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rule, err := Parse(tt.rule)
			if err != nil {
				t.Fatal(err)
			}
			got, err := rule.Choose(pools, func(name string) bool { return name == tt.holder })
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// A pool with the image is chosen while it has at least half of the space of the emptiest one.
func TestChoosePrefersThePoolOfTheImage(t *testing.T) {
	rule, err := Parse("")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		free int64
		want string
	}{{51, "a"}, {50, "a"}, {49, "b"}} {
		two := []Pool{{Name: "a", FreeBytes: tt.free, Healthy: true}, {Name: "b", FreeBytes: 100, Healthy: true}}
		if got, err := rule.Choose(two, func(name string) bool { return name == "a" }); err != nil || got != tt.want {
			t.Errorf("with %d bytes free: got %q, %v; want %q", tt.free, got, err, tt.want)
		}
	}
}

func TestNoPoolIsSuitable(t *testing.T) {
	for _, tt := range []struct{ rule, want string }{
		{`name == "none"`, `no pool is suitable (rule: name == "none"); fast: healthy true, encrypted true, kind flash, 400 GiB free of 1024 GiB; rust: `},
		{"free / (size - size) > 1", "fast: division by zero"},
	} {
		rule, err := Parse(tt.rule)
		if err != nil {
			t.Fatal(err)
		}
		var none NoneError
		if _, err = rule.Choose(pools, nil); !errors.As(err, &none) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v", tt.rule, err)
		}
	}
}

// A mistake is found when the expression is parsed, and the error has its position.
func TestMistakesHavePositions(t *testing.T) {
	for _, tt := range []struct{ rule, want string }{
		{"healthy && fre > 1", "1:12: undeclared reference to 'fre'"},
		{"healthy &&\n  kind = 'flash'", "2:8: "},
		{"free > 'much'", "1:6: found no matching overload for '_>_' applied to '(int, string)'"},
		{"free", "1:1: the expression is a value of type int; it must be true or false"},
		{"(", "1:2: "},
	} {
		if _, err := Parse(tt.rule); err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%q: got %v; want %q", tt.rule, err, tt.want)
		}
	}
}

func TestOnlyRulesThatUseTheKindNeedIt(t *testing.T) {
	for rule, want := range map[string]bool{"": false, `name == "kind"`: false, `healthy && kind != "rust"`: true} {
		parsed, err := Parse(rule)
		if err != nil {
			t.Fatal(err)
		}
		if parsed.NeedsKind() != want {
			t.Errorf("%q: got %t", rule, parsed.NeedsKind())
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"", "healthy", `kind == "flash" && free > 10 * GiB`, "[1,2].exists(x, x > free)", "("} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rule, err := Parse(text)
		if err != nil {
			return
		}
		if got, err := rule.Choose(pools, nil); (err == nil) == (got == "") {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	})
}

// A rule that cannot be evaluated for a pool is not true of it.
func TestRuleThatFailsForAPool(t *testing.T) {
	rule, err := Parse("size / free > 1")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := rule.Suitable(Pool{Name: "full", SizeBytes: 1}); ok || err == nil {
		t.Errorf("got %t, %v", ok, err)
	}
	if ok, err := rule.Suitable(Pool{Name: "half", SizeBytes: 4, FreeBytes: 2}); !ok || err != nil {
		t.Errorf("got %t, %v", ok, err)
	}
}
