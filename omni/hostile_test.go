package omni

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestHostileClasses refuses machine classes that are designed to keep the provider busy. The refusals are quick and short enough
// to display.
func TestHostileClasses(t *testing.T) {
	repeated := func(n int, item func(i int) string) string {
		var b strings.Builder
		for i := range n {
			b.WriteString(item(i))
		}
		return b.String()
	}
	bomb := "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + repeated(9, func(i int) string {
		return fmt.Sprintf("a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d,", i), 9), i)
	})
	for _, tt := range []struct{ name, class, want string }{
		{"nested aliases", bomb, "4096"},
		{"few nested aliases", "a: &a [x,x,x,x]\nb: &b [" + strings.Repeat("*a,", 900) + "*a]\nc: [" + strings.Repeat("*b,", 9) + "*b]\n", "4096"},
		{"nested merges", "a0: &a0 {x: 1}\n" + repeated(30, func(i int) string { return fmt.Sprintf("a%d: &a%d {<<: [*a%d, *a%d]}\n", i+1, i+1, i, i) }), ""},
		{"an alias that refers to its own anchor", "a: &a [*a]\n", ""},
		{"many names", "{" + repeated(30_000, func(i int) string { return fmt.Sprintf("k%d: 1,", i) }) + "}", "4096"},
		{"many unknown names", "{" + repeated(1000, func(i int) string { return fmt.Sprintf("k%d: 1,", i) }) + "}", "and 9"},
		{"a long unknown name", strings.Repeat("k", 1<<20) + ": 1\n", ""},
		{"many large ranges", class + "ip_prefix: 8\nip_addresses: [" + repeated(2000, func(i int) string { return "10.0.0.0-10.0.255.255," }) + "]\n", "256"},
		{"deep lists", "tags: " + strings.Repeat("[", 50_000), ""},
		{"deep maps", strings.Repeat("{a: ", 50_000), ""},
		{"dashes", strings.Repeat("- ", 50_000), ""},
		{"a number beyond all", class + "vlan: 1e400\n", "vlan"},
		{"no number", class + "vlan: .nan\n", ""},
		{"binary", "\x00\xff\xfe" + class, ""},
		{"a tag of another language", class + "tags: !!python/object/apply:os.system [x]\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			_, err := parseClass(fromYAML(tt.class))
			took := time.Since(began)
			if err == nil && tt.want != "" || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %.200v, want %s", err, tt.want)
			}
			if err != nil && len(err.Error()) > 8000 {
				t.Errorf("the text has %d characters", len(err.Error()))
			}
			if took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}
