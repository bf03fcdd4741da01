package rule

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"

	"wardline/shared/vital"
)

// The bounds on one expression.
const (
	maxNodes   = 200
	maxDepth   = 16 // of the evaluator's stack
	maxWindow  = 2 * 3600 * second
	minWindow  = 10 * second
	maxWindows = 64 // different windows of one Program
)

// functions are the calls that expressions may make.
var functions = map[string]code{"mean": opMean, "min": opMin, "max": opMax, "delta": opDelta, "age": opAge, "gone": opGone}

// expression is what an expression was compiled to.
type expression struct {
	ops   []op
	reads uint64 // mask of inputs
	ages  uint64 // mask of inputs whose age is read: such a rule runs with time
}

// expressionCompiler turns expr's checked syntax tree into ops.
type expressionCompiler struct {
	p     *Program
	scope Scope
	at    place
	out   expression
	depth int
	err   error
}

// compile parses, checks and compiles one expression that must be true or false.
// An empty text compiles to no ops.
func (p *Program) compile(text string, at place, scope Scope) (expression, error) {
	if text == "" {
		return expression{}, nil
	}
	c := &expressionCompiler{p: p, scope: scope, at: at}
	config := p.config()
	tree, err := parser.ParseWithConfig(text, config)
	if err != nil {
		return expression{}, c.foreign(err)
	}
	c.names(&tree.Node)
	if c.err != nil {
		return expression{}, c.err
	}
	if _, err := checker.Check(tree, config); err != nil {
		return expression{}, c.foreign(err)
	}
	c.compile(tree.Node)
	return c.out, c.err
}

// config is expr's configuration: our names and functions, none of its builtins
// (several have our functions' names and other meanings), a bound on nodes.
func (p *Program) config() *conf.Config {
	env := map[string]any{}
	for name, in := range byName {
		env[name] = [...]any{number: 0.0, truth: false, posture: ""}[meanings[in].sort]
	}
	for _, l := range p.limits {
		env["limit."+l.Name] = 0.0
	}
	c := conf.New(env)
	for name := range c.Builtins {
		c.Disabled[name] = true
	}
	clear(c.Builtins)
	windowed, plain := reflect.TypeFor[func(float64, string) float64](), reflect.TypeFor[func(float64) float64]()
	for name, f := range functions {
		t := windowed
		if f == opAge || f == opGone {
			t = plain
		}
		c.Functions[name] = &builtin.Function{Name: name, Types: []reflect.Type{t}}
	}
	c.MaxNodes, c.Expect, c.Optimize = maxNodes, reflect.Bool, false
	return c
}

// foreign turns one of expr's errors into ours, at its place in the pack.
func (c *expressionCompiler) foreign(err error) error {
	at := c.at
	var fault *file.Error
	if !errors.As(err, &fault) {
		return at.errorf("%v", err)
	}
	at.column += fault.Column
	what, _, _ := strings.Cut(fault.Message, "\n")
	return at.errorf("%s", what)
}

func (c *expressionCompiler) fail(n ast.Node, format string, args ...any) {
	if c.err != nil {
		return
	}
	at := c.at
	at.column += n.Location().From
	c.err = at.errorf(format, args...)
}

// names checks the names that the tree uses, so that an unknown one is answered
// with the one that was meant, and rewrites limit.hr.high to a single name.
func (c *expressionCompiler) names(n *ast.Node) {
	switch x := (*n).(type) {
	case *ast.IdentifierNode:
		in, ok := byName[x.Value]
		switch {
		case !ok:
			c.fail(x, "nothing is called %q: %s", x.Value, meant(x.Value, append(c.inputs(), "limit")))
		case !meanings[in].scopes[c.scope]:
			c.fail(x, "a rule about a %s cannot read %s: %s", c.scope, x.Value, meant(x.Value, c.inputs()))
		}
	case *ast.MemberNode:
		name, ok := memberName(x)
		switch i := slices.IndexFunc(c.p.limits, func(l Limit) bool { return "limit."+l.Name == name }); {
		case !ok:
			c.fail(x, "only limits have parts, as in limit.hr.high")
		case i < 0:
			c.fail(x, "no limit is called %q: %s", name, meant(name, c.p.limitNames()))
		default:
			ast.Patch(n, &ast.IdentifierNode{Value: name})
		}
	case *ast.ChainNode:
		c.fail(x, "?. has no meaning in a rule: what is absent is unknown")
	case *ast.UnaryNode:
		c.names(&x.Node)
	case *ast.BinaryNode:
		c.names(&x.Left)
		c.names(&x.Right)
	case *ast.CallNode:
		f, ok := x.Callee.(*ast.IdentifierNode)
		if !ok || functions[f.Value] == 0 {
			c.fail(x, "there is no function %s: %s", x.Callee, meant(x.Callee.String(), functionNames()))
			return
		}
		for i := range x.Arguments {
			c.names(&x.Arguments[i])
		}
	}
}

func functionNames() []string {
	var out []string
	for name := range functions {
		out = append(out, name)
	}
	return out
}

func (c *expressionCompiler) inputs() []string {
	var out []string
	for name, in := range byName {
		if meanings[in].scopes[c.scope] {
			out = append(out, name)
		}
	}
	return out
}

// memberName spells limit.hr.high.
func memberName(n ast.Node) (string, bool) {
	switch x := n.(type) {
	case *ast.IdentifierNode:
		return x.Value, x.Value == "limit"
	case *ast.MemberNode:
		part, ok := x.Property.(*ast.StringNode)
		if !ok || x.Optional || x.Method {
			return "", false
		}
		name, ok := memberName(x.Node)
		return name + "." + part.Value, ok
	}
	return "", false
}

// compile emits ops for a tree whose names and types are right.
func (c *expressionCompiler) compile(n ast.Node) {
	switch x := n.(type) {
	case *ast.IntegerNode:
		c.push(op{code: opConst, num: float64(x.Value)})
	case *ast.FloatNode:
		c.push(op{code: opConst, num: x.Value})
	case *ast.BoolNode:
		c.push(op{code: opConst, num: number01(x.Value)})
	case *ast.StringNode:
		code, ok := vital.PostureByName(x.Value)
		if !ok {
			c.fail(x, "%q is no posture", x.Value)
		}
		c.push(op{code: opConst, num: float64(code)})
	case *ast.IdentifierNode:
		c.read(x)
	case *ast.UnaryNode:
		c.unary(x)
	case *ast.BinaryNode:
		c.binary(x)
	case *ast.CallNode:
		c.call(x)
	default:
		c.fail(n, "this is not part of the rules' language: %s", n)
	}
}

func number01(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (c *expressionCompiler) push(o op) {
	c.out.ops = append(c.out.ops, o)
	if c.depth++; c.depth > maxDepth && c.err == nil {
		c.err = c.at.errorf("the expression is nested too deep")
	}
}

func (c *expressionCompiler) read(x *ast.IdentifierNode) {
	if name, ok := strings.CutPrefix(x.Value, "limit."); ok {
		i := slices.IndexFunc(c.p.limits, func(l Limit) bool { return l.Name == name })
		c.push(op{code: opConst, num: c.p.limits[i].Value})
		return
	}
	in := byName[x.Value]
	c.out.reads |= 1 << in
	c.push(op{code: opInput, arg: uint16(in)})
}

var unaries = map[string]code{"not": opNot, "!": opNot, "-": opNeg, "+": opKeep}

func (c *expressionCompiler) unary(x *ast.UnaryNode) {
	o, ok := unaries[x.Operator]
	if !ok {
		c.fail(x, "operator %s is not part of the rules' language", x.Operator)
	}
	c.compile(x.Node)
	if o != opKeep {
		c.out.ops = append(c.out.ops, op{code: o})
	}
}

var binaries = map[string]code{
	"and": opAnd, "&&": opAnd, "or": opOr, "||": opOr,
	"<": opLess, "<=": opLessEqual, ">": opMore, ">=": opMoreEqual, "==": opEqual, "!=": opNotEqual,
	"+": opAdd, "-": opSubtract, "*": opMultiply, "/": opDivide,
}

func (c *expressionCompiler) binary(x *ast.BinaryNode) {
	o, ok := binaries[x.Operator]
	if !ok {
		c.fail(x, "operator %s is not part of the rules' language", x.Operator)
		return
	}
	if x.Left.Type().Kind() == reflect.String && o != opEqual && o != opNotEqual {
		c.fail(x, "postures are only compared with == and !=")
	}
	c.compile(x.Left)
	c.compile(x.Right)
	c.depth--
	c.out.ops = append(c.out.ops, op{code: o})
	c.fuse()
}

// fuse joins "input, constant, comparison", which most expressions are made of.
func (c *expressionCompiler) fuse() {
	n := len(c.out.ops)
	if n < 3 {
		return
	}
	a, b, o := c.out.ops[n-3], c.out.ops[n-2], c.out.ops[n-1]
	if a.code == opInput && b.code == opConst && o.code >= opLess && o.code <= opMoreEqual {
		c.out.ops = append(c.out.ops[:n-3], op{code: o.code + (opInputLess - opLess), arg: a.arg, num: b.num})
	}
}

// call compiles a window function to the slot of its window.
func (c *expressionCompiler) call(x *ast.CallNode) {
	f := functions[x.Callee.String()]
	arg, ok := x.Arguments[0].(*ast.IdentifierNode)
	in, known := Input(0), false
	if ok {
		in, known = byName[arg.Value]
	}
	if !known || in.Vital() == 0 || meanings[in].sort != number {
		c.fail(x, "%s is taken of a vital, as in %s(hr, …)", x.Callee, x.Callee)
		return
	}
	c.out.reads |= 1 << in
	if f == opAge || f == opGone {
		if f == opAge {
			c.out.ages |= 1 << in
		}
		c.push(op{code: f, arg: uint16(in)})
		return
	}
	text, ok := x.Arguments[1].(*ast.StringNode)
	if !ok {
		c.fail(x.Arguments[1], "a window's length is written out, as in \"10m\"")
		return
	}
	span, err := time.ParseDuration(text.Value)
	if err != nil || span.Microseconds() < minWindow || span.Microseconds() > maxWindow {
		c.fail(text, "a window is 10s to 2h long, not %q", text.Value)
		return
	}
	slot := c.p.window(in, span.Microseconds())
	if slot >= maxWindows {
		c.fail(x, "the packs have more than %d different windows", maxWindows)
		return
	}
	c.push(op{code: f, arg: uint16(slot)})
}
