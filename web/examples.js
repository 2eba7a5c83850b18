// What the page offers to whoever has nothing to run yet.

export const EXAMPLES = [
  {
    label: "A countdown in Python", language: "python",
    source: 'import sys\nimport time\n\nfor left in range(3, 0, -1):\n    print(f"{left} ...", flush=True)\n    time.sleep(0.7)\n\nprint("lift-off")\nprint("smoke on the pad", file=sys.stderr)\n',
  },
  {
    label: "A question", language: "python",
    source: 'name = input("What is your name? ")\nprint(f"Hello, {name}!")\n',
  },
  {
    label: "Bash", language: "bash",
    source: 'for word in live output from bash; do\n  echo "$word"\n  sleep 0.3\ndone\nuname -sr\n',
  },
  {
    label: "Node", language: "node",
    source: 'for (let i = 1; i <= 3; i += 1) {\n  console.log(`tick ${i}`);\n  await new Promise((resolve) => setTimeout(resolve, 400));\n}\nconsole.error("done, says stderr");\n',
  },
  {
    label: "A workflow with a question", language: "workflow",
    source: 'kind: workflow\nname: say hello\nnodes:\n  - id: ask\n    type: input\n    prompts: [{key: who, label: Who is there?, default: Ada}]\n\n  - id: each\n    type: map\n    needs: [ask]\n    items: [Hello, Salut, Ciao]\n    nodes:\n      - id: say\n        type: script\n        language: bash\n        args: ["{{ item }}", "{{ nodes.ask.output.who }}"]\n        source: sleep 1; echo "$1, $2!"\n',
  },
  {
    label: "An HTTP flow", language: "flow",
    source: 'kind: flow\nname: echo\nvariables: {greeting: Hello}\ndefaults:\n  baseUrl: https://httpbin.org\n  timeout: 10\nnodes:\n  - id: send\n    method: POST\n    url: /anything\n    userPrompts: {who: "Who is there?"}\n    body: {text: "{{ .vars.greeting }}, {{ .input.who }}!"}\n    validations: [{httpStatusCode: 200}, {jsonpath: .json.text, exists: true}]\n\n  - id: again\n    method: GET\n    url: /anything/{{ .responses.send.json.text }}\n    conditions: [{input: who, notEquals: nobody}]\n',
  },
];
