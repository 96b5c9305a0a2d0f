/** The line of messages under the header, read out by screen readers. */

let timer = 0;

/** Show a text for some seconds (an error until the next message). */
export function say(text, isError = false) {
  const line = document.getElementById("message");
  clearTimeout(timer);
  line.textContent = text;
  line.classList.toggle("error", isError);
  timer = setTimeout(() => {
    line.textContent = "";
  }, isError ? 20000 : 6000);
}
