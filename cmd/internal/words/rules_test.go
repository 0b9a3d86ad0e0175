package words

import (
	"regexp"
	"strings"
)

// A rule forbids a phrase. except marks allowed matches: it applies to the match with the word before and after it.
type rule struct {
	phrase  *regexp.Regexp
	except  *regexp.Regexp
	instead string
}

func forbid(phrase, instead string) rule {
	phrase = strings.ReplaceAll(phrase, " ", `\s+`)
	return rule{phrase: regexp.MustCompile(`(?i)\b(?:` + phrase + `)\b`), instead: instead}
}

func (r rule) unless(context string) rule {
	r.except = regexp.MustCompile(`(?i)` + context)
	return r
}

var rules = []rule{
	forbid(`tell|tells|telling|told`, "report, show, print, send; distinguish for tell apart"),
	forbid(`anew`, "again, or a verb with re-"),
	forbid(`nobody|somebody|whoever`, "the subject: no caller, another client, the user"),
	forbid(`mishaps?`, "fault"),
	forbid(`(?:held|hold|holds|holding) against`, "compare with, check against"),
	forbid(`what(?:ever)? (?:has |had )?(?:become|becomes|became|comes|came) of`, "the outcome, the result, the state of"),
	forbid(`no longer there`, "gone, removed, deleted"),
	forbid(`(?:is|are|was|were|be) no [a-z]\w*`, "is not a …; the adjective; does not exist for is no more").
		unless(`there (?:is|are|was|were) no|no (?:longer|more than|less than|later than|earlier than|larger than|smaller than|better|worse)\b`),
	forbid(`(?:that|this) one's`, "the noun"),
	forbid(`sparing|sparingly`, "circuit breaker, rate limit"),
	forbid(`twins?`, "duplicate, second copy"),
	forbid(`(?:let|lets|letting|lets \w+|let \w+) go(?: of)?`, "release, close, discard, drop").unless(`let'?s go test`),
	forbid(`of (?:itself|themselves)`, "by itself, or its own").unless(`(?:copy|parts?|inside) of (?:itself|themselves)`),
	forbid(`(?:is|are|all) well`, "healthy, ready").unless(`(?:is|are|all) well[- ](?:known|formed)`),
	forbid(`mends?|mended|mending`, "repair, fix"),
	forbid(`strikes?|struck|striking`, "hit, affect, delete"),
	forbid(`(?:says?|said|saying) (?:so|nothing)`, "state what is reported, or report nothing"),
	forbid(`at work`, "running, in progress, working"),
	forbid(`lest`, "so that … not"),
	forbid(`for want of`, "without, because … is missing"),
	forbid(`sees? to (?:it|its|their|the)`, "handle, ensure, the verb itself").unless(`sees? to the (?:end|last)`),
	forbid(`whose (?:it|they) (?:is|are|was|were)`, "the owner"),
	forbid(`know(?:s|n)? \w+ no more`, "does not know … any more"),
	forbid(`lies? there`, "exists"),
	forbid(`said plainly`, "explicit"),
	forbid(`for ever`, "forever"),
	forbid(`ask(?:s|ed|ing)? for`, "request"),
	forbid(`what (?:is|was) (?:asked|wanted|said|left)`, "the request, the result, the rest: a noun"),
	forbid(`says? (?:which|whose)`, "name, select, identify; the owner"),
	forbid(`for people|people's|anybody|everybody`, "for users, the user's; a subject with a noun"),
	forbid(`(?:goes|go|went|gone) on`, "continue"),
	forbid(`hangs? on`, "depend on"),
	forbid(`(?:stands?|stood) (?:for|in)`, "represent, mean, replace; be in"),
	forbid(`nothing but`, "only"),
	forbid(`(?:takes?|took|taken|taking) away`, "remove"),
	forbid(`(?:throws?|threw|thrown|throwing) away`, "discard"),
	forbid(`pull(?:s|ed|ing)? the plug`, "cut the power"),
	forbid(`for the time of`, "during"),
	forbid(`again and again|over and over`, "repeatedly"),
	forbid(`(?:is|are|was|were|be) said to`, "is reported as"),
	forbid(`without a word`, "silently, with an empty message"),
	forbid(`at this moment`, "now, at the moment, meanwhile"),
	forbid(`(?:on|under) (?:its|their) way`, "in progress, in transit"),
	forbid(`(?:comes?|came|coming) back`, "return, restart"),
	forbid(`makes? up for`, "repeat, compensate"),
	forbid(`(?:is|are|was|were|be) (?:not )?whole`, "complete, incomplete").unless(`whole (?:MiB|sectors|numbers?|bytes)`),
	forbid(`(?:is|are|was|were) there already`, "exists already"),
	forbid(`a power cut`, "a power failure"),
	forbid(`(?:comes?|came|coming) about`, "happen"),
	forbid(`(?:holds?|held|holding) on to`, "keep, protect"),
	forbid(`wish(?:es|ed)? for`, "request, configure"),
	forbid(`in the words of`, "in the terms of, with the texts of"),
	forbid(`behind (?:the|its|their) backs?`, "without, concurrently with"),
	forbid(`(?:stands?|stood) on`, "be based on, depend on, be on"),
	forbid(`(?:gives?|gave|given|giving) away`, "assign"),
	forbid(`to the letter`, "exactly"),
	forbid(`in the clear`, "unencrypted, without TLS"),
	forbid(`side by side`, "in parallel, adjacent"),
	forbid(`(?:this|that|the) very`, "the same, exactly this; the noun"),
	forbid(`of (?:its|our|their) making`, "that it made"),
	forbid(`time and again`, "repeatedly"),
	forbid(`at hand`, "current, available"),
	forbid(`(?:is|are) what (?:is|was|it|they|the|an?)`, "a noun in place of the clause"),
	forbid(`what (?:the|an?|it|they|one|this|that) (?:\w+ )?(?:is|are|was|were|has|have|had) of`, "a noun: the state of, the data about"),
	forbid(`(?:is|are) who|are how`, "the subject; returns"),
	forbid(`(?:is|are) taken for|takes? (?:it|them|this|that|one) for`, "count as, treat as"),
	forbid(`(?:comes?|came) to (?:its|an) end`, "end"),
	forbid(`such (?:is|are|was)`, "this is"),
}

// anyRule combines all rules, because most texts match none.
var anyRule = func() *regexp.Regexp {
	phrases := make([]string, len(rules))
	for i, r := range rules {
		phrases[i] = r.phrase.String()
	}
	return regexp.MustCompile(strings.Join(phrases, "|"))
}()

// find returns the matches of the rules in the text.
func find(text string) []hit {
	if !anyRule.MatchString(text) {
		return nil
	}
	var hits []hit
	for _, r := range rules {
		for _, at := range r.phrase.FindAllStringIndex(text, -1) {
			if r.except != nil && r.except.MatchString(context(text, at[0], at[1])) {
				continue
			}
			hits = append(hits, hit{at[0], text[at[0]:at[1]], r.instead})
		}
	}
	return hits
}

type hit struct {
	offset  int
	words   string
	instead string
}

// context is text[from:to] with a word on either side and single spaces.
func context(text string, from, to int) string {
	before, after := strings.Fields(text[:from]), strings.Fields(text[to:])
	words := strings.Fields(text[from:to])
	if len(before) > 0 {
		words = append(before[len(before)-1:], words...)
	}
	joined := strings.Join(words, " ")
	if len(after) > 0 {
		joined += separator(text, to) + after[0]
	}
	return joined
}

// separator returns a space, or nothing if the next word follows directly, as in "well-known".
func separator(text string, at int) string {
	if at < len(text) && strings.ContainsRune(" \t\n", rune(text[at])) {
		return " "
	}
	return ""
}
